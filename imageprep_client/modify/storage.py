"""Private local storage of a run, where images are changed.

Roles choose the names of containers and images, and a run may be killed.
Private storage keeps its content apart from that of others and is removed as
a whole. It neither uses nor sees names of the host's images. It is below the
host's storage, which has room for images and a file system that the storage
driver can use.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.host import disk, files, locks, processes
from imageprep_client.modify import home
from imageprep_client.programs.buildah import Buildah, own_name

_IMAGES = "images"
_RUN = "run"
_CONFIGURATION = "storage.conf"
_VARIABLE = "CONTAINERS_STORAGE_CONF"
# Where containers-storage.conf(5) says that the file is.
_SYSTEM = ("/etc/containers", "/usr/share/containers")
# Options of that page that tell how a driver works, and name no place.
_HARMLESS = (
    "mount_program",
    "mountopt",
    "ignore_chown_errors",
    "force_mask",
    "skip_mount_home",
)
_DETACH = 2  # MNT_DETACH of umount2(2)


@dataclasses.dataclass(frozen=True, slots=True)
class PrivateStorage:
    """Local storage that only this run uses.

    :ivar directory: the whole storage; files that others put beside
        ``images`` are removed with it.
    :ivar environment: variables that make programs use the storage, and mark
        their processes.
    :ivar buildah: works on the storage.
    :ivar host: the specifier of the host's storage.
    """

    directory: Path
    environment: Mapping[str, str]
    buildah: Buildah
    host: str

    def keep(self, name: str) -> None:
        """Copy an image to the host's storage under the same name."""
        self.buildah.run(
            "push",
            "--quiet",
            "--",
            name,
            f"containers-storage:{self.host}{name}",
        )


@contextlib.contextmanager
def private_storage(host: Buildah) -> Iterator[PrivateStorage]:
    """Make empty storage; remove it at the end and end its processes.

    Storage that killed runs left behind is removed first.

    :param host: works on the host's own storage.
    :raises LocalStorageError: when it cannot be made.
    """
    store: Mapping[str, Any] = host.info().get("store") or {}
    place = home.place(store)
    with contextlib.ExitStack() as stack:
        with home.reported(place):
            with home.alone(place):
                _remove_abandoned(place, host)
                directory = place / own_name()
                directory.mkdir(mode=0o700)
                stack.enter_context(locks.locked_directory(directory))
            stack.callback(_remove, directory, host)
            storage = _make(directory, store)
        yield storage


def _make(directory: Path, store: Mapping[str, Any]) -> PrivateStorage:
    temporary = directory / "tmp"
    temporary.mkdir()
    path = directory / _CONFIGURATION
    text = toml(configuration(os.environ, store, directory))
    files.write(str(path), text, mode=0o600)
    environment = {
        _VARIABLE: str(path),
        "TMPDIR": str(temporary),
        processes.MARK: directory.name,
    }
    return PrivateStorage(
        directory,
        environment,
        Buildah(environment=environment),
        _specifier(store),
    )


def _remove_abandoned(place: Path, host: Buildah) -> None:
    """Remove the storage of runs that have ended."""
    for directory in place.iterdir():
        # It is skipped if it is in use or is being removed by its owner.
        with (
            contextlib.suppress(BlockingIOError, FileNotFoundError),
            locks.locked_directory(directory, timeout=0),
        ):
            _remove(directory, host)


def _remove(directory: Path, host: Buildah) -> None:
    """End the processes of a storage, and remove it."""
    processes.end_marked(directory.name, directory)
    own = Buildah(environment={_VARIABLE: str(directory / _CONFIGURATION)})
    # The files of a damaged storage are removed all the same.
    with contextlib.suppress(errors.LocalStorageError):
        if _leads_to(directory, own):
            place = (
                *("--root", str(directory / _IMAGES)),
                *("--runroot", str(directory / _RUN)),
            )
            own.run(*place, "rm", "--all")
            own.run(*place, "rmi", "--all", "--force")
    with home.reported(directory):
        for mounted in _mounts(directory):
            _unmount(mounted)
        try:
            shutil.rmtree(directory)
        except PermissionError:
            # Without root, some files belong to users of a user namespace.
            host.run("unshare", "rm", "-rf", "--", str(directory))


def _leads_to(directory: Path, own: Buildah) -> bool:
    """Whether the configuration in a directory certainly leads to it.

    If it is empty or damaged, buildah works on its default storage, which is
    that of the host and must not be emptied.
    """
    wanted = {
        "graphroot": str(directory / _IMAGES),
        "runroot": str(directory / _RUN),
    }
    try:
        text = (directory / _CONFIGURATION).read_text()
        storage = tomllib.loads(text)["storage"]
        if any(storage[key] != wanted[key] for key in wanted):
            return False
    except (OSError, ValueError, LookupError, TypeError):
        return False
    store = own.info().get("store") or {}
    return all(
        os.path.realpath(str(store.get(key))) == os.path.realpath(place)
        for key, place in (
            ("GraphRoot", wanted["graphroot"]),
            ("RunRoot", wanted["runroot"]),
        )
    )


def _mounts(directory: Path) -> Sequence[str]:
    """The mount points below a directory, the last one first."""
    return [
        mount.point
        for mount in reversed(disk.mounts())
        if Path(mount.point).is_relative_to(directory)
    ]


def _unmount(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _DETACH):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def configuration(
    environment: Mapping[str, str], store: Mapping[str, Any], directory: Path
) -> Mapping[str, Any]:
    """Make a configuration with the driver of the host for a directory.

    Only options of the host that are known to be harmless are copied: others
    lead to images of the host (``imagestore``, ``additionalimagestores``).

    :param environment: names the configuration files of the host.
    :param store: the storage of the host, as ``buildah info`` describes it.
    :param directory: the directory of the new storage.
    """
    document: dict[str, Any] = {}
    for path in _candidates(environment):
        try:
            document = tomllib.loads(path.read_text())
            break
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            raise errors.LocalStorageError(f"{path}: {error}") from None
    driver = str(store.get("GraphDriverName"))
    storage: dict[str, Any] = {
        "driver": driver,
        "graphroot": str(directory / _IMAGES),
        "runroot": str(directory / _RUN),
    }
    options = _options(document, driver)
    if options:
        storage["options"] = options
    return {"storage": storage}


def _options(document: Mapping[str, Any], driver: str) -> Mapping[str, Any]:
    """The options of the host that only tell how its driver works.

    Others name places, which must not be written to or relied on.
    """
    given = document.get("storage", {}).get("options", {})
    own = given.get(driver, {})
    general = {key: given[key] for key in _HARMLESS if key in given}
    of_driver = {key: own[key] for key in _HARMLESS if key in own}
    return {**general, driver: of_driver} if of_driver else general


def _candidates(environment: Mapping[str, str]) -> Sequence[Path]:
    """Configuration files of the storage; the first existing one counts."""
    if environment.get(_VARIABLE):
        return [Path(environment[_VARIABLE])]
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    own = [f"{base}/containers"] if os.geteuid() else []
    return [
        Path(directory).expanduser() / _CONFIGURATION
        for directory in (*own, *_SYSTEM)
    ]


def _specifier(store: Mapping[str, Any]) -> str:
    """A storage specifier of containers-transports(5)."""
    driver, root = store.get("GraphDriverName"), store.get("GraphRoot")
    return f"[{driver}@{root}+{store.get('RunRoot')}]"


def toml(document: Mapping[str, Any], table: str = "") -> str:
    """Write a document of tables, strings, numbers, booleans and lists."""
    values, tables = [], []
    for key, value in document.items():
        name = f"{table}.{_text(key)}" if table else _text(key)
        if isinstance(value, Mapping):
            tables.append(f"[{name}]\n{toml(value, name)}")
        else:
            values.append(f"{_text(key)} = {_value(value)}\n")
    return "".join([*values, *tables])


def _value(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    return str(value) if isinstance(value, int) else _text(str(value))


def _text(text: str) -> str:
    """A basic string of TOML."""
    escaped = (
        char
        if char.isprintable() and char not in '"\\'
        else f"\\U{ord(char):08X}"
        for char in text
    )
    return f'"{"".join(escaped)}"'
