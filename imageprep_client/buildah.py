"""The program `buildah`: images in local storage, and changes to them.

A thin layer: it starts the program, turns what it prints into values and
what goes wrong into errors. Where images are kept and how containers are
isolated is the program's own configuration, see its manual: the environment
(``BUILDAH_ISOLATION``, ``CONTAINERS_STORAGE_CONF``, ``STORAGE_DRIVER``, ...)
is passed on as it is. What is given on its command line can be seen in the
process list: no secrets.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import tempfile
import threading
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors

#: How all names begin that this package gives for a while; see `own_name`.
PREFIX = "imageprep-"

_NOTHING: Mapping[str, str] = types.MappingProxyType({})
#: What buildah says of an image or a container that is not there.
_UNKNOWN = ("image not known", "container not known")
#: Seconds between asking it to end and ending it, so that both take less
#: than one.
_GRACE = 0.7
_TAIL = 2000
#: What buildah takes by default, a good deal faster than 6.
_LEVEL = "5"
_REF_NAME = "org.opencontainers.image.ref.name"
_ISOLATION = (
    "inside a container or a virtual machine set BUILDAH_ISOLATION=chroot"
)
_RIGHTS = "run it as root"
#: What its messages have in them, and what helps.
_HINTS = (
    ("cgroups in hybrid mode", _ISOLATION),
    ("creating cgroup", _ISOLATION),
    ("unshare(CLONE_NEW", _ISOLATION),
    ("is not supported over", "set STORAGE_DRIVER=vfs"),
    ("failed to mount overlay", "set STORAGE_DRIVER=vfs"),
    ("no space left on device", "make room in the storage or in TMPDIR"),
    ("permission denied", _RIGHTS),
    ("insufficient UIDs or GIDs", _RIGHTS),
)


@dataclasses.dataclass(frozen=True, slots=True)
class ListedImage:
    """An image in a list.

    :ivar id: digest of its config, 64 hexadecimal digits.
    :ivar digest: of its manifest, with the algorithm.
    :ivar names: in full, such as ``localhost/nova:latest``; may be empty.
    :ivar size: as buildah writes it, such as ``4.06 MB``.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    size: str


@dataclasses.dataclass(frozen=True, slots=True)
class LocalImage:
    """An image in local storage.

    :ivar id: digest of its config, 64 hexadecimal digits.
    :ivar digest: of its manifest, or of the index that it was pulled by.
    :ivar names: in full, such as ``localhost/nova:latest``; may be empty.
    :ivar user: who its processes run as; empty for root.
    :ivar diff_ids: digests of its uncompressed layers, the lowest first.
    :ivar manifest, config: as they are stored, byte for byte.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    labels: Mapping[str, str]
    architecture: str
    os: str
    user: str
    diff_ids: tuple[str, ...]
    manifest: bytes = dataclasses.field(repr=False)
    config: bytes = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """What a command gave.

    :ivar status: its exit status; negative when a signal ended it.
    """

    status: int
    stdout: str
    stderr: str


class Buildah:
    """Runs the program; may be used by several threads at once.

    :param program: its name or path.
    :param environment: variables to add to, or replace in, that of this
        process.
    """

    def __init__(
        self,
        program: str = "buildah",
        environment: Mapping[str, str] = _NOTHING,
    ) -> None:
        self._program = program
        self._environment = environment
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False
        self._looked = False

    def run(
        self,
        *words: str,
        stdin: bytes | None = None,
        directory: str | os.PathLike[str] | None = None,
    ) -> str:
        """Run it with these arguments and wait.

        It does not share our process group: a Ctrl-C reaches only us. When
        we are interrupted it ends within a second.

        :param directory: its working directory.
        :returns: what it printed.
        :raises LocalStorageError: when it cannot be started or fails.
        """
        return self._run(words, stdin, directory)

    def stop(self) -> None:
        """End what other threads are running; nothing new is started.

        Containers and images are removed all the same.
        """
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    def image(self, name: str) -> LocalImage | None:
        """The image of this name or ID; None when there is none.

        :param name: a short name is completed as buildah does.
        """
        try:
            told = self.run("inspect", "--type", "image", "--", name)
        except errors.LocalStorageError as error:
            if _is_unknown(error):
                return None
            raise
        found = _inspected(name, told)
        listed = (i for i in self.images() if i.id == found.id)
        names = {each for image in listed for each in image.names}
        return dataclasses.replace(found, names=tuple(sorted(names)))

    def images(self) -> Sequence[ListedImage]:
        """All images that can be used, those without a name as well."""
        told = self.run("images", "--json", "--no-trunc")
        return [
            ListedImage(
                id=str(each["id"]).removeprefix("sha256:"),
                digest=str(each.get("digest") or ""),
                names=tuple(each.get("names") or ()),
                size=str(each.get("size") or ""),
            )
            for each in _parsed("images", told) or ()
        ]

    def info(self) -> Mapping[str, Any]:
        """What `buildah info` tells of the host and its storage."""
        found: Mapping[str, Any] = _parsed("info", self.run("info"))
        return found

    def pull(self, layout: str, reference: str, name: str) -> str:
        """Bring an image from an OCI layout into local storage.

        :param layout: the directory.
        :param reference: the tag or digest in its index.
        :param name: what the image is called then, and nothing else.
        :returns: its ID.
        """
        # buildah calls what it pulls after the directory, or after the tag,
        # as its release has it: both are a name that nobody else has.
        token = own_name()
        with tempfile.TemporaryDirectory(prefix=PREFIX) as temporary:
            _link(Path(layout), reference, Path(temporary) / token, token)
            told = self.run(
                *("pull", "--quiet", "--", f"oci:{token}:{token}"),
                directory=temporary,
            )
        identity = told.split()[-1]
        try:
            self.tag(identity, name)
        finally:
            self._forget(identity, token)
        return identity

    def export(self, image: str, layout: str, reference: str) -> None:
        """Write an image into an OCI layout, its layers compressed.

        The same layer gives the same bytes, as long as buildah is the same.
        A layer is left out when there is a blob, of any content, that has
        the digest of its uncompressed form for a name.

        :param image: its name or ID.
        :param layout: the directory, made when it is missing.
        :param reference: its tag in the index.
        """
        Path(layout).mkdir(parents=True, exist_ok=True)
        # The configuration of the host may have other ideas of compression;
        # and a colon in a path would end it.
        self.run(
            *("push", "--quiet", "--compression-format", "gzip"),
            *(
                "--compression-level",
                _LEVEL,
                "--",
                image,
                f"oci:.:{reference}",
            ),
            directory=layout,
        )

    def tag(self, image: str, name: str) -> None:
        """Give an image one more name, which another image may lose."""
        self.run("tag", "--", image, name)

    def remove(self, *names: str) -> None:
        """Take these names away; those that are not there are fine.

        An image goes with its last name.
        """
        for name in names:
            with _unless_unknown():
                self._run(("rmi", "--", name), last=True)

    @contextlib.contextmanager
    def container(self, image: str) -> Iterator[Container]:
        """A working container of an image, removed in any case at the end.

        Containers that killed runs left behind are removed first.

        :param image: its name or ID; nothing is pulled.
        """
        self._remove_abandoned()
        name = own_name()
        try:
            self.run("from", "--pull-never", "--name", name, "--", image)
            yield Container(self, name)
        finally:
            self._remove_container(name)

    def _remove_abandoned(self) -> None:
        """Remove the containers of processes that are no more; once."""
        with self._lock:
            looked, self._looked = self._looked, True
        if looked:
            return
        told = self.run("containers", "--json")
        for each in _parsed("containers", told) or ():
            name = str(each.get("containername"))
            if is_abandoned(name):
                self._remove_container(name)

    def _remove_container(self, name: str) -> None:
        with _unless_unknown():
            self._run(("rm", "--", name), last=True)

    def _forget(self, identity: str, token: str) -> None:
        """Take the names with `token` in them from an image."""
        names = (i.names for i in self.images() if i.id == identity)
        mine = (name for each in names for name in each if token in name)
        self.remove(*mine)

    def _run(
        self,
        words: Sequence[str],
        stdin: bytes | None = None,
        directory: str | os.PathLike[str] | None = None,
        *,
        last: bool = False,
    ) -> str:
        """As `run`; `last`: although all was stopped."""
        finished = self._attempt(words, stdin, directory, last=last)
        if finished.status:
            raise self._failure(words, _tail(finished.stderr))
        return finished.stdout

    def _attempt(
        self,
        words: Sequence[str],
        stdin: bytes | None = None,
        directory: str | os.PathLike[str] | None = None,
        *,
        last: bool = False,
    ) -> Finished:
        """As `_run`, and leave it to the caller what a failure is."""
        with self._started(words, stdin, directory, last=last) as process:
            try:
                stdout, stderr = process.communicate(stdin)
            except BaseException:
                _end(process)
                raise
        if self._stopped and process.returncode < 0:
            raise self._failure(words, "stopped")
        return Finished(
            process.returncode,
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )

    @contextlib.contextmanager
    def _started(
        self,
        words: Sequence[str],
        stdin: bytes | None,
        directory: str | os.PathLike[str] | None,
        *,
        last: bool,
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped and not last:
                raise self._failure(words, "stopped")
            process = self._start(words, stdin, directory)
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)

    def _start(
        self,
        words: Sequence[str],
        stdin: bytes | None,
        directory: str | os.PathLike[str] | None,
    ) -> subprocess.Popen[bytes]:
        try:
            return subprocess.Popen(  # noqa: S603 - no shell is involved
                [self._program, *words],
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise errors.LocalStorageError(
                f"{self._program}: no such program",
                hint="install the package buildah",
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._failure(words, reason.lower()) from error

    def _failure(
        self, words: Sequence[str], reason: str
    ) -> errors.LocalStorageError:
        hints = (hint for part, hint in _HINTS if part in reason)
        return errors.LocalStorageError(
            f"{self._program} {words[0]}: {reason}", hint=next(hints, None)
        )


class Container:
    """A working container; `Buildah.container` makes and removes it.

    :ivar name: what buildah calls it.
    """

    def __init__(self, buildah: Buildah, name: str) -> None:
        self.name = name
        self._buildah = buildah

    def run(
        self,
        *command: str,
        volumes: Sequence[str] = (),
        user: str | None = None,
        env: Mapping[str, str] = _NOTHING,
    ) -> str:
        """Run a command in it.

        :param volumes: ``directory:where[:ro]``.
        :param user: by default that of the image.
        :param env: others on this host can see it; no secrets.
        :returns: what it printed.
        :raises LocalStorageError: when it fails, with what it complained.
        """
        words = self._words(command, volumes, user, env)
        return self._buildah.run(*words)

    def attempt(
        self,
        *command: str,
        volumes: Sequence[str] = (),
        user: str | None = None,
        env: Mapping[str, str] = _NOTHING,
    ) -> Finished:
        """As `run`, for a command that may fail.

        :returns: what it gave; buildah's own failures look like its.
        :raises LocalStorageError: when buildah cannot be started, or
            `Buildah.stop` ended it.
        """
        words = self._words(command, volumes, user, env)
        return self._buildah._attempt(words)

    def _words(
        self,
        command: Sequence[str],
        volumes: Sequence[str],
        user: str | None,
        env: Mapping[str, str],
    ) -> list[str]:
        words = [f"--volume={each}" for each in volumes]
        words += [f"--env={key}={value}" for key, value in env.items()]
        if user is not None:
            words.append(f"--user={user}")
        return ["run", *words, "--", self.name, *command]

    @contextlib.contextmanager
    def mount(self) -> Iterator[Path]:
        """Its root directory, as long as the context lasts.

        Links in it lead where the image wants: follow none, see `read`.
        """
        told = self._buildah.run("mount", self.name)
        try:
            yield Path(told.strip())
        finally:
            self._buildah._run(("umount", self.name), last=True)

    def read(self, path: str) -> bytes | None:
        """A file in it; links are followed, but never out of it.

        :returns: None when there is no such file.
        """
        with self.mount() as root:
            try:
                return _within(root, path).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise errors.LocalStorageError(f"{path}: {reason}") from error

    def config(
        self,
        *,
        user: str | None = None,
        labels: Mapping[str, str] = _NOTHING,
    ) -> None:
        """Set what the image made of it says.

        :param user: who its processes run as; empty for root.
        """
        words = [f"--label={key}={value}" for key, value in labels.items()]
        if user is not None:
            words.append(f"--user={user}")
        if words:
            self._buildah.run("config", *words, self.name)

    def commit(self, name: str, /, **labels: str) -> str:
        """Make an image of it: one layer more, and these labels.

        :returns: its ID.
        """
        self.config(labels=labels)
        told = self._buildah.run("commit", "--quiet", "--", self.name, name)
        return told.split()[-1]


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, whatever they do."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def own_name() -> str:
    """A name for what has to go when this process is gone."""
    process = os.getpid()
    token = secrets.token_hex(4)
    return f"{PREFIX}{process}-{_start_of(process)}-{token}"


def is_abandoned(name: str) -> bool:
    """Whether `own_name` gave it, in a process that is no more."""
    process, _, rest = name.removeprefix(PREFIX).partition("-")
    if not name.startswith(PREFIX) or not process.isdigit():
        return False
    return _start_of(int(process)) != rest.partition("-")[0]


def _start_of(process: int) -> str:
    """When a process started, in ticks; empty when there is none.

    With its number it is a name that no other process of this boot has.
    """
    try:
        stat = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return stat.rpartition(")")[2].split()[19]


def _tail(stderr: str) -> str:
    """The end of what a program complained, without empty lines."""
    text = stderr.replace("Error: ", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines)[-_TAIL:] or "failed without a word"


def _is_unknown(error: errors.LocalStorageError) -> bool:
    return any(text in str(error) for text in _UNKNOWN)


@contextlib.contextmanager
def _unless_unknown() -> Iterator[None]:
    """Let what is not there be gone."""
    try:
        yield
    except errors.LocalStorageError as error:
        if not _is_unknown(error):
            raise


def _parsed(what: str, told: str) -> Any:
    try:
        return json.loads(told)
    except ValueError as error:
        raise errors.LocalStorageError(
            f"buildah {what}: not JSON: {told[:100]!r}"
        ) from error


def _inspected(name: str, told: str) -> LocalImage:
    document = _parsed("inspect", told)
    try:
        image = document["OCIv1"]
        config = image.get("config") or {}
        return LocalImage(
            id=document["FromImageID"],
            digest=document["FromImageDigest"],
            names=(),
            labels=dict(config.get("Labels") or {}),
            architecture=image["architecture"],
            os=image["os"],
            user=config.get("User") or "",
            diff_ids=tuple(image["rootfs"]["diff_ids"] or ()),
            manifest=document["Manifest"].encode(),
            config=document["Config"].encode(),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise errors.LocalStorageError(
            f"{name}: buildah inspect: no {error} in its answer"
        ) from error


def _link(layout: Path, reference: str, path: Path, tag: str) -> None:
    """Make a layout at `path` with one image of `layout`, called `tag`."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        (entry,) = (
            each
            for each in index["manifests"]
            if reference
            in (
                each["digest"],
                (each.get("annotations") or {}).get(_REF_NAME),
            )
        )
    except (OSError, ValueError, KeyError) as error:
        raise errors.LocalStorageError(
            f"{layout}: no image {reference} in this layout: {error}"
        ) from error
    entry["annotations"] = {_REF_NAME: tag}
    path.mkdir()
    (path / "blobs").symlink_to((layout / "blobs").resolve())
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (path / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [entry]})
    )


def _within(root: Path, path: str) -> Path:
    """Where `path` leads when `root` is the root of all links."""
    parts = [part for part in reversed(path.split("/")) if part]
    found: list[str] = []
    links = 0
    while parts:
        part = parts.pop()
        if part in (".", ".."):
            del found[len(found) - (part == "..") :]
            continue
        here = root.joinpath(*found, part)
        if not here.is_symlink():
            found.append(part)
            continue
        links += 1
        if links > 40:
            raise FileNotFoundError(path)
        target = os.readlink(here)
        if target.startswith("/"):
            found.clear()
        parts.extend(p for p in reversed(target.split("/")) if p)
    return root.joinpath(*found)
