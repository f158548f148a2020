"""Names of containers, images and directories that belong to a process.

A name contains the process that made it, with its PID namespace and host,
because a PID means nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import descriptors, locks, processes

#: The prefix of all temporary names.
PREFIX = "imageprep-"
# The whole grammar of `own_name`: names of users may have the prefix too.
_OWN = re.compile(
    rf"{PREFIX}([0-9a-f]{{8}})-([0-9]{{1,10}})-([0-9]{{1,20}})-[0-9a-f]{{8}}"
)
# The default of buildah; /tmp may be in memory.
_TEMPORARY = "/var/tmp"  # noqa: S108 - only for a directory of our own
#: Seconds after which an unlocked directory of another PID namespace is
#: abandoned: older releases did not lock theirs.
_AGE = 24 * 3600
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


def own_name() -> str:
    """Make a name that counts as abandoned once this process has ended."""
    process = os.getpid()
    start, token = processes.start(process), secrets.token_hex(4)
    return f"{PREFIX}{_namespace()}-{process}-{start}-{token}"


def is_own(name: str) -> bool:
    """Whether `own_name` of any process made it."""
    return _OWN.fullmatch(name) is not None


def is_abandoned(name: str) -> bool:
    """Whether `own_name` made it in a process that has ended.

    Nothing is known about processes of another PID namespace or host, which
    may share local storage or a directory for temporary files.
    """
    own = _OWN.fullmatch(name)
    return (
        own is not None
        and own[1] == _namespace()
        and processes.start(int(own[2])) != own[3]
    )


@functools.cache
def _namespace() -> str:
    """Identify the PID namespace of this process and its host."""
    place = f"{os.uname().nodename} {os.stat('/proc/self/ns/pid').st_ino}"
    return hashlib.sha256(place.encode()).hexdigest()[:8]


@contextlib.contextmanager
def temporary(environment: Mapping[str, str] = os.environ) -> Iterator[Path]:
    """Make a private directory below TMPDIR or /var/tmp for the context.

    Directories that killed processes left there are removed first. The
    directory is locked while it is in use: the kernel releases the lock when
    the process ends, in whatever PID namespace.

    :raises LocalStorageError: when it cannot be made.
    """
    above = Path(environment.get("TMPDIR") or _TEMPORARY).absolute()
    path = above / own_name()
    try:
        for left in above.glob(f"{PREFIX}*"):
            if is_own(left.name) and _belongs_to_us(left):
                _remove_if_abandoned(left)
        path.mkdir(mode=0o700)
        lock = os.open(path, _DIRECTORY)
    except OSError as error:
        raise errors.LocalStorageError(
            f"{above}: {errors.reason(error)}",
            hint="name a directory for temporary files with TMPDIR",
        ) from error
    try:
        with locks.locked(lock):
            try:
                yield path
            finally:
                # A thread of a stopped copy may still make one more file. A
                # later run removes files that cannot be removed now.
                shutil.rmtree(path, ignore_errors=True)
                if path.exists():
                    shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)


def _remove_if_abandoned(path: Path) -> None:
    """Remove a directory whose process has ended.

    The PID decides in this PID namespace. In another one, which may be that
    of a container that is gone, the directory is abandoned if nobody has
    locked it and it is old.
    """
    if not is_abandoned(path.name):
        own = _OWN.fullmatch(path.name)
        if own is None or own[1] == _namespace():
            return
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.lstat().st_ctime < _AGE:
                return
    with (
        contextlib.suppress(FileNotFoundError, BlockingIOError),
        descriptors.opened(path, _DIRECTORY) as lock,
        locks.locked(lock, timeout=0),
    ):
        shutil.rmtree(path, ignore_errors=True)


def _belongs_to_us(path: Path) -> bool:
    """Whether it is a directory of this user, and not a link to one."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        # Another run removed it.
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid()
