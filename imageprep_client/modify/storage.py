"""Local storage of a run's own, where images are changed.

Roles name containers and images as they like, and a run may be killed. What
is in a storage of its own can be told from what others have, and goes as a
whole: names of the host's images are neither taken nor seen. It is kept in
the host's storage, where there is room for images and a file system that the
storage driver can use.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
import re
import shutil
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.host import files, processes
from imageprep_client.modify import home
from imageprep_client.programs.buildah import Buildah, own_name

_IMAGES = "images"
_RUN = "run"
_CONFIGURATION = "storage.conf"
_VARIABLE = "CONTAINERS_STORAGE_CONF"
# containers-storage.conf(5): where it is looked for.
_SYSTEM = ("/etc/containers", "/usr/share/containers")
# As there: how a driver works, wherever that is.
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

    :ivar directory: all of it; beside ``images`` others may put into it
        what shall go with it.
    :ivar environment: variables that lead programs there, and mark them.
    :ivar buildah: works there.
    :ivar host: how the host's storage is called from within.
    """

    directory: Path
    environment: Mapping[str, str]
    buildah: Buildah
    host: str

    def keep(self, name: str) -> None:
        """Have an image in the host's storage, too, under its name."""
        self.buildah.run(
            "push",
            "--quiet",
            "--",
            name,
            f"containers-storage:{self.host}{name}",
        )


@contextlib.contextmanager
def private_storage(host: Buildah) -> Iterator[PrivateStorage]:
    """Storage that is empty, and gone at the end with all that uses it.

    Those that killed runs left behind are removed first.

    :param host: works on the host's own storage.
    :raises LocalStorageError: when there can be none.
    """
    store: Mapping[str, Any] = host.info().get("store") or {}
    place = home.place(store)
    with contextlib.ExitStack() as stack:
        with home.reported(place):
            with home.alone(place):
                _remove_abandoned(place, host)
                directory = place / own_name()
                directory.mkdir(mode=0o700)
                stack.enter_context(home.locked(directory))
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
    """Remove what belongs to runs that are no more."""
    for directory in place.iterdir():
        # It is in use, or its owner is removing it.
        with (
            contextlib.suppress(BlockingIOError, FileNotFoundError),
            home.locked(directory, wait=False),
        ):
            _remove(directory, host)


def _remove(directory: Path, host: Buildah) -> None:
    """Remove a storage, and first what is at work in it."""
    processes.end_marked(directory.name, directory)
    own = Buildah(environment={_VARIABLE: str(directory / _CONFIGURATION)})
    # What of it cannot be used any more is removed as files are.
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
            # Without root it belongs to users of a namespace, too.
            host.run("unshare", "rm", "-rf", "--", str(directory))


def _leads_to(directory: Path, own: Buildah) -> bool:
    """Whether the configuration in a directory leads there for certain.

    With one that is empty or damaged buildah works on the storage that it
    has by default: that of the host, which must not be emptied.
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
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        # proc(5): blanks and the like are octal.
        path = re.sub(
            r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), line.split()[4]
        )
        if Path(path).is_relative_to(directory):
            found.append(path)
    return found[::-1]


def _unmount(path: str) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(path), _DETACH):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)


def configuration(
    environment: Mapping[str, str], store: Mapping[str, Any], directory: Path
) -> Mapping[str, Any]:
    """That of the host, with another place and the same driver.

    Of the host's only what is known to be harmless is taken: other keys
    lead to images of the host (``imagestore``, ``additionalimagestores``).

    :param environment: says which files configure the host's.
    :param store: how buildah describes the host's.
    :param directory: the other place.
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
    """Those of the host that only say how its driver works.

    Others name places, which are not ours to write to, or to rely on.
    """
    given = document.get("storage", {}).get("options", {})
    own = given.get(driver, {})
    found = {key: given[key] for key in _HARMLESS if key in given}
    of_driver = {key: own[key] for key in _HARMLESS if key in own}
    return {**found, driver: of_driver} if of_driver else found


def _candidates(environment: Mapping[str, str]) -> Sequence[Path]:
    """The files that storage is configured with; the first one counts."""
    if environment.get(_VARIABLE):
        return [Path(environment[_VARIABLE])]
    base = environment.get("XDG_CONFIG_HOME") or "~/.config"
    own = [f"{base}/containers"] if os.geteuid() else []
    return [
        Path(directory).expanduser() / _CONFIGURATION
        for directory in (*own, *_SYSTEM)
    ]


def _specifier(store: Mapping[str, Any]) -> str:
    """How containers-transports(5) has it."""
    driver, root = store.get("GraphDriverName"), store.get("GraphRoot")
    return f"[{driver}@{root}+{store.get('RunRoot')}]"


def toml(document: Mapping[str, Any], table: str = "") -> str:
    """A document of tables, strings, numbers, booleans and lists of them."""
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
