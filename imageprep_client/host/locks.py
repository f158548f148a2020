"""Locks on open files: taken, waited for within a bound, looked up."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client.host import descriptors, disk

_LOCKS = Path("/proc/locks")
#: Seconds between two attempts while another process has the lock.
_INTERVAL = 0.05
#: Seconds after which a caller that still waits is reminded.
REMINDER = 60.0


@contextlib.contextmanager
def locked(
    descriptor: int,
    *,
    shared: bool = False,
    timeout: float | None = None,
    waiting: Callable[[], None] | None = None,
) -> Iterator[None]:
    """Hold the lock of an open file or directory for the block.

    The kernel releases the lock of a process that ends. Locks of two
    descriptors exclude each other, also in one process.

    :param timeout: seconds to wait; None waits for as long as it takes.
    :param waiting: called when another process has the lock, and again every
        `REMINDER` seconds.
    :raises BlockingIOError: when another process still has it then.
    """
    operation = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    begin = time.monotonic()
    reminder = 0.0
    while True:
        try:
            fcntl.flock(descriptor, operation | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            waited = time.monotonic() - begin
            if waiting and waited >= reminder:
                waiting()
                reminder += REMINDER
            if timeout is not None and waited >= timeout:
                raise
            time.sleep(_INTERVAL)
    try:
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


@contextlib.contextmanager
def locked_directory(
    path: Path, *, timeout: float | None = None
) -> Iterator[None]:
    """Hold the lock of a directory for the block; see `locked`.

    Each call opens the directory again, so threads exclude each other, too.
    """
    with (
        descriptors.opened(path, os.O_DIRECTORY) as descriptor,
        locked(descriptor, timeout=timeout),
    ):
        yield


def is_locked(descriptor: int) -> bool:
    """Whether another process has the exclusive lock of an open file."""
    try:
        with locked(descriptor, shared=True, timeout=0):
            return False
    except BlockingIOError:
        return True


def owner(descriptor: int) -> int | None:
    """The process that has the lock of a file; None when none is known.

    The kernel's list shows processes of this host, or of this container.

    :param descriptor: of the file, also one of O_PATH.
    """
    try:
        file = f"{_device(descriptor)}:{os.fstat(descriptor).st_ino}"
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        # 1: FLOCK  ADVISORY  WRITE 4711 08:01:123456 0 EOF
        fields = line.split()
        if fields[1:2] == ["FLOCK"] and fields[5:6] == [file]:
            # 0: a process that this container does not show.
            return int(fields[4]) or None
    return None


def _device(descriptor: int) -> str:
    """The device of a file as the kernel's list of locks spells it.

    It is that of the file system. `os.fstat` has another one for each
    subvolume of btrfs. Empty when the file system is no longer mounted.
    """
    described = Path(f"/proc/self/fdinfo/{descriptor}").read_text()
    (number,) = re.findall(r"(?m)^mnt_id:\s*(\d+)$", described)
    for mount in disk.mounts():
        if mount.number == int(number):
            return "{:02x}:{:02x}".format(*mount.device)
    return ""
