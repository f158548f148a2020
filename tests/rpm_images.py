"""Images that have a real rpm, and packages for them, made on the spot.

The fixture `rpm_images` of tests/conftest.py gives them, and `local_storage`
the storage that they are put into::

    def test_x(
        local_storage: LocalStorage, rpm_images: RpmImages, tmp_path: Path
    ) -> None:
        image = rpm_images.base(local_storage)  # has keystone-demo 1.0-1
        rpm = packages.build(tmp_path / "rpms", Package(version="1.1"))

The programs are the host's own, with the libraries that they are linked to:
`base` has rpm, and `dnf` has dnf, Python, pip and setuptools as well. Both
have OLD installed, labels, and a user that is not root. They are made once
per session, in the first test that needs them.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import shutil
import subprocess
import sysconfig
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests import local_storage as local_storages
from tests import programs
from tests.local_storage import LocalStorage
from tests.rpm_packages import OLD, build

#: What the images are called.
BASE = "localhost/ns/keystone:1.0"
DNF = "localhost/ns/keystone-dnf:1.0"
#: Their default user, in /etc/passwd of the images as well.
USER = "keystone"
UID = 42425
LABELS = {"name": "keystone", "rdo_version": "abc123"}

_PROGRAMS = (
    *("sh", "cat", "cp", "false", "grep", "id", "ls", "mkdir", "mv"),
    *("rm", "rpm", "sleep", "stat", "true"),
)
_PASSWD = f"root:x:0:0::/root:/bin/sh\n{USER}:x:{UID}:{UID}::/:/bin/sh\n"
_GROUP = f"root:x:0:\n{USER}:x:{UID}:\n"
_NOT_NEEDED = re.compile(
    r"__pycache__|/(test|tests|idlelib|ensurepip|lib2to3|tkinter|turtledemo"
    r"|pydoc_data|config-[^/]*|_distutils_system_mod.py|EXTERNALLY-MANAGED"
    r"|dist-packages|site-packages)(/|$)"
)
_DNF_MODULES = ("dnf", "gpg", "hawkey", "libcomps", "libdnf", "rpm")


class RpmImages:
    """Makes each image once and puts it into local storage.

    :param directory: where the images are kept until the session ends; other
        processes may use the same.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def base(self, storage: LocalStorage, name: str = BASE) -> str:
        """An image with rpm, and the package `OLD`; 10 MB.

        :returns: its name.
        """
        return self._image("base", _base_root, storage, name)

    def dnf(self, storage: LocalStorage, name: str = DNF) -> str:
        """As `base`, with dnf, no repository, and with pip; 120 MB.

        :returns: its name.
        """
        return self._image("dnf", _dnf_root, storage, name)

    def _image(
        self,
        kind: str,
        root: Callable[[Path], None],
        storage: LocalStorage,
        name: str,
    ) -> str:
        layout = self._directory / kind
        with self._lock(kind):
            self._make_layout(layout, kind, root)
            if storage.is_new and name == BASE:
                storage.become(self._pulled(kind))
                return name
        storage.buildah.pull(str(layout), kind, name)
        return name

    def _pulled(self, kind: str) -> LocalStorage:
        """Local storage that has pulled the image, as BASE."""
        directory = self._directory / f"{kind}-pulled"
        if directory.exists():
            return LocalStorage(directory, directory / "tmp", {})
        storage = local_storages.make(directory)
        with local_storages.used(storage):
            storage.buildah.pull(str(self._directory / kind), kind, BASE)
        return storage

    @contextlib.contextmanager
    def _lock(self, kind: str) -> Iterator[None]:
        """Other processes may want the same image at the same time."""
        with (self._directory / f"{kind}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _make_layout(
        self, layout: Path, kind: str, root: Callable[[Path], None]
    ) -> None:
        if not layout.exists():
            with (
                tempfile.TemporaryDirectory(dir=self._directory) as temporary,
                local_storages.local_storage(Path(temporary)) as own,
            ):
                _make(own, Path(temporary), root)
                own.buildah.run(
                    *("push", "--quiet", "--disable-compression"),
                    *(BASE, f"oci:{layout}:{kind}"),
                )


def _make(
    storage: LocalStorage, directory: Path, root: Callable[[Path], None]
) -> None:
    """Make the image BASE of the tree that `root` writes."""
    tree = directory / "root"
    root(tree)
    archive = directory / "root.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree, "", filter=_of_root)
    packages = directory / "rpms"
    rpm = build(packages, OLD)
    with storage.buildah.container("scratch") as container:
        storage.buildah.run("add", "--quiet", container.name, str(archive))
        container.run(
            *("rpm", "-i", f"/mnt/{rpm.name}"),
            volumes=[f"{packages}:/mnt:ro"],
            user="root",
        )
        storage.buildah.run("config", f"--user={USER}", container.name)
        container.commit(BASE, **LABELS)


def _of_root(info: tarfile.TarInfo) -> tarfile.TarInfo:
    info.uid = info.gid = 0
    info.uname = info.gname = "root"
    return info


def _base_root(root: Path) -> None:
    for path in ("usr/bin", "usr/sbin", "usr/lib", "usr/lib64"):
        (root / path).mkdir(parents=True)
        (root / Path(path).name).symlink_to(path)
    for path in ("dev", "etc/rpm", "mnt", "proc", "root", "run", "sys"):
        (root / path).mkdir(parents=True)
    for path in ("tmp", "var/cache", "var/lib/rpm", "var/log", "var/tmp"):
        (root / path).mkdir(parents=True)
    for path in ("tmp", "var/tmp"):
        (root / path).chmod(0o1777)
    (root / "etc/passwd").write_text(_PASSWD)
    (root / "etc/group").write_text(_GROUP)
    # Debian's own is a file in the home directory of who runs rpm.
    (root / "etc/rpm/macros").write_text("%_dbpath /var/lib/rpm\n")
    for file in Path("/usr/lib/rpm").glob("*"):
        if file.name in ("macros", "rpmrc") or file.name[:7] == "rpmpopt":
            _copy(file, root)
    _copy(Path("/usr/lib/rpm/platform"), root)
    _with_libraries(root, [_program(name) for name in _PROGRAMS])


def _dnf_root(root: Path) -> None:
    _base_root(root)
    for path in ("etc/yum.repos.d", "var/cache/dnf"):
        (root / path).mkdir(parents=True)
    dnf = _program("dnf")
    python = Path(dnf.read_text().splitlines()[0][2:].split()[0])
    stdlib, *modules = _modules(python)
    _copy(Path("/etc/dnf"), root)
    _copy(stdlib, root)
    for module in modules:
        _copy(module, root)
    copied = (Path("/", p.relative_to(root)) for p in root.rglob("*.so"))
    _with_libraries(root, [dnf, python, *copied])
    _add_pip(root, python)


def _add_pip(root: Path, python: Path) -> None:
    """Add those of the tests' own environment: pure Python, any version."""
    told = programs.run(
        str(python), "-c", "import site; print(*site.getsitepackages())"
    )
    target = Path(told.split()[-1])
    names = re.compile(
        r"(pip|setuptools|pkg_resources|_distutils_hack|wheel)(-.*)?$"
    )
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if names.match(path.name):
            _copy(path, root, target / path.name)


def _modules(python: Path) -> list[Path]:
    """Its standard library, and the modules that dnf needs."""
    return [
        Path(line)
        for line in programs.run(
            str(python),
            "-c",
            "import importlib, os, sys, sysconfig\n"
            "print(sysconfig.get_path('stdlib'))\n"
            "for name in sys.argv[1:]:\n"
            "    path = importlib.import_module(name).__file__\n"
            "    inside = os.path.basename(path).startswith('__init__.')\n"
            "    print(os.path.dirname(path) if inside else path)\n",
            *_DNF_MODULES,
        ).splitlines()
    ]


def _with_libraries(root: Path, paths: Iterable[Path]) -> None:
    """Copy programs, and the libraries that they and others need."""
    paths = list(paths)
    for path in paths:
        _copy(path.resolve(), root, path)
    told = subprocess.run(
        ["ldd", *map(str, paths)], capture_output=True, text=True, check=False
    )
    for library in set(re.findall(r"(/\S+) \(0x", told.stdout)):
        _copy(Path(library).resolve(), root, Path(library))


def _copy(source: Path, root: Path, to: Path | None = None) -> None:
    """Copy a file or a directory of the host to where it is there."""
    target = root / str(to or source).lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(
            *(source, target),
            symlinks=True,
            dirs_exist_ok=True,
            ignore=functools.partial(_not_needed, len(str(source))),
        )
    elif not target.exists():
        shutil.copy2(source, target)


def _not_needed(start: int, directory: str, names: list[str]) -> list[str]:
    paths = ((name, os.path.join(directory, name)[start:]) for name in names)
    return [name for name, path in paths if _NOT_NEEDED.search(path)]


@functools.cache
def _program(name: str) -> Path:
    path = shutil.which(name, path="/usr/bin:/bin:/usr/sbin:/sbin")
    assert path, f"{name} is not installed; see tools/check"
    return Path(path)
