"""Local storage of a test's own, with real buildah on it.

The fixture `local_storage` of tests/conftest.py gives one::

    def test_x(local_storage: LocalStorage) -> None:
        base = local_storage.base()
        local_storage.build("localhost/nova:1", {"/motd": b"hi"}, base=base)
        with local_storage.buildah.container("localhost/nova:1") as container:
            assert container.run("cat", "/motd") == "hi"

While the test runs the environment says where the storage is: whatever is
started, `openstack`, buildah, skopeo or ansible, finds it without options.
At the end the fixture fails a test that left containers, mounts or
directories behind; an image may stay, it goes with the storage.
"""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import functools
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from imageprep_client.programs.buildah import (
    PREFIX,
    Buildah,
    Container,
    own_name,
)
from tests import programs

_NOTHING: Mapping[str, bytes] = {}
_NO_LABELS: Mapping[str, str] = {}
#: The name of the image that `LocalStorage.base` makes.
BASE = "localhost/base:latest"
_TEMPORARY = tempfile.gettempdir()
_PASSWD = b"root:x:0:0::/:/bin/sh\nnova:x:42:42::/:/bin/sh\n"


def name_of_killed_run() -> str:
    """A name that a process of this host gave which is gone."""
    return re.sub(r"-[0-9]+-([0-9a-f]+)$", r"-1-\1", own_name())


@dataclasses.dataclass(frozen=True)
class LocalStorage:
    """Local storage below a directory, until the test ends.

    :ivar directory: all of it.
    :ivar temporary: TMPDIR of the test.
    :ivar environment: what leads programs there.
    """

    directory: Path
    temporary: Path
    environment: Mapping[str, str]
    buildah: Buildah = dataclasses.field(default_factory=Buildah)

    def build(
        self,
        name: str,
        files: Mapping[str, bytes] = _NOTHING,
        *,
        base: str = "scratch",
        links: Mapping[str, str] = _NO_LABELS,
        labels: Mapping[str, str] = _NO_LABELS,
        user: str | None = None,
    ) -> str:
        """Make an image: one layer on `base` with these files.

        :param files: by their absolute path; all can be executed.
        :param links: symbolic links, by their absolute path.
        :returns: its ID.
        """
        if not files and not links:
            # Of FROM alone "build" leaves a container.
            with self.buildah.container(base) as container:
                if user is not None:
                    words = (f"--user={user}", container.name)
                    self.buildah.run("config", *words)
                return container.commit(name, **labels)
        lines = [f"FROM {base}", "ADD files.tar /"]
        if user is not None:
            lines.append(f"USER {user}")
        lines += [f"LABEL {key}={json.dumps(labels[key])}" for key in labels]
        with tempfile.TemporaryDirectory(dir=self.directory) as context:
            Path(context, "files.tar").write_bytes(archive(files, links))
            Path(context, "Dockerfile").write_text("\n".join(lines))
            told = self.buildah.run(
                *("build", "--quiet", "--pull-never", "--tag", name, context)
            )
        return told.split()[-1]

    @property
    def is_new(self) -> bool:
        """Whether nothing was ever put into it."""
        return not (self.directory / "images").exists()

    def become(self, other: LocalStorage) -> None:
        """Have all that another one has; it has to be new."""
        assert self.is_new
        words = ("cp", "-a", "--reflink=auto")
        images = (other.directory / "images", self.directory / "images")
        subprocess.run([*words, *images], check=True)

    def base(self) -> str:
        """An image with a shell, the usual commands and a user nova.

        :returns: its name, `BASE`.
        """
        if self.is_new:
            self.become(_with_base())
        elif self.buildah.image(BASE) is None:
            _build_base(self)
        return BASE

    def told(self, image: str, *command: str, user: str | None = None) -> str:
        """The output of a command in a container of an image.

        :param user: by default that of the image.
        """
        with self.buildah.container(image) as container:
            return told_in(container, *command, user=user)

    def names(self) -> set[str]:
        """The names of all images."""
        return {name for i in self.buildah.images() for name in i.names}

    def empty(self) -> None:
        """Remove all containers and images."""
        if any("container " in one for one in self.leftovers()):
            self.buildah.run("rm", "--all")
        for name in ("images", "run"):
            shutil.rmtree(self.directory / name, ignore_errors=True)

    def leftovers(self) -> list[str]:
        """Containers, mounts and temporary directories that are there."""
        told = [
            container["id"]
            for place in ("images", "run")
            for path in (self.directory / place).glob("*/*containers.json")
            for container in json.loads(path.read_text())
        ]
        mounts = Path("/proc/self/mounts").read_text().splitlines()
        here = os.path.realpath(self.directory)
        return [
            *(f"container {identity}" for identity in told),
            *(line for line in mounts if here in line),
            *map(str, self.temporary.glob(f"*{PREFIX}*")),
        ]


def told_in(
    container: Container, *command: str, user: str | None = None
) -> str:
    """The output of a command in a container, by way of a file.

    On a busy host buildah 1.28 now and then loses what is printed.
    """
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o777)  # for the user of the image
        container.run(
            *("sh", "-c", '"$@" >/mnt/told', "sh", *command),
            volumes=[f"{directory}:/mnt"],
            user=user,
        )
        return Path(directory, "told").read_text()


@contextlib.contextmanager
def local_storage(directory: Path) -> Iterator[LocalStorage]:
    """Local storage below `directory`, which is made; no leftovers.

    Until the end of the block the environment leads programs there.
    """
    storage = make(directory)
    with used(storage):
        yield storage
        leftovers = storage.leftovers()
        storage.empty()
    assert not leftovers, leftovers


def make(directory: Path) -> LocalStorage:
    """Local storage below `directory`, which is made."""
    assert shutil.which("buildah"), "buildah is not installed; see tools/check"
    temporary = directory / "tmp"
    temporary.mkdir(parents=True)
    configuration = directory / "storage.conf"
    configuration.write_text(_configuration(directory, _driver()))
    environment = {
        "BUILDAH_ISOLATION": "chroot",
        "CONTAINERS_STORAGE_CONF": str(configuration),
        "TMPDIR": str(temporary),
    }
    return LocalStorage(directory, temporary, environment)


@functools.cache
def _with_base() -> LocalStorage:
    """Local storage with nothing but the base, for this process."""
    # Not in that of a test, which ends.
    directory = tempfile.mkdtemp(prefix="imageprep-", dir=_TEMPORARY)
    atexit.register(shutil.rmtree, directory)
    storage = make(Path(directory, "base"))
    with used(storage):
        _build_base(storage)
    return storage


def _build_base(storage: LocalStorage) -> None:
    path = shutil.which("busybox")
    assert path, "busybox is not installed; see tools/check"
    names = set(programs.run(path, "--list").split()) - {"busybox"}
    storage.build(
        BASE,
        {"/bin/busybox": Path(path).read_bytes(), "/etc/passwd": _PASSWD},
        links={f"/bin/{name}": "busybox" for name in names},
        labels={"name": "base"},
    )


@contextlib.contextmanager
def used(storage: LocalStorage) -> Iterator[None]:
    """Until the end of the block the environment leads programs there."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in storage.environment.items():
            patch.setenv(name, value)
        patch.delenv("STORAGE_DRIVER", raising=False)
        patch.setattr(tempfile, "tempdir", None)
        yield


def _configuration(directory: Path, driver: str) -> str:
    return (
        f'[storage]\ndriver = "{driver}"\n'
        f'graphroot = "{directory}/images"\nrunroot = "{directory}/run"\n'
    )


@functools.cache
def _driver() -> str:
    """overlay, or vfs where /tmp cannot be below an overlay.

    With vfs a file that keeps its size and its time looks unchanged to who
    commits the layer.
    """
    with tempfile.TemporaryDirectory() as temporary:
        path = Path(temporary, "storage.conf")
        path.write_text(_configuration(Path(temporary), "overlay"))
        tried = subprocess.run(
            ["buildah", "info"],
            env={**os.environ, "CONTAINERS_STORAGE_CONF": str(path)},
            capture_output=True,
            check=False,
        )
    return "vfs" if tried.returncode else "overlay"


def archive(files: Mapping[str, bytes], links: Mapping[str, str]) -> bytes:
    """A tar archive; everything in it is of root and equally old."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, content in files.items():
            info = tarfile.TarInfo(path.lstrip("/"))
            info.mode, info.size = 0o755, len(content)
            archive.addfile(info, io.BytesIO(content))
        for path, target in sorted(links.items()):
            info = tarfile.TarInfo(path.lstrip("/"))
            info.type, info.linkname = tarfile.SYMTYPE, target
            archive.addfile(info)
    return buffer.getvalue()
