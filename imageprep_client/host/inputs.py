"""Files that the user names, read within bounds and without waiting."""

from __future__ import annotations

import os
import select
import stat
import time

from imageprep_client import errors

_NULL = os.makedev(1, 3)
#: Seconds that the program behind ``<(program)`` has.
PATIENCE = 60.0
_CHUNK = 1 << 20


def read(path: str, limit: int) -> bytes:
    """The content of a file.

    A regular file, ``/dev/null``, or a pipe without a name, as the shell has
    for ``<(program)``. A named pipe, a socket or another device may never
    have an end, or no beginning, and is refused.

    :param limit: the most bytes that the file may have.
    :raises InvalidFile: when it cannot be read, is no such file, or has more
        than `limit` bytes.
    """
    try:
        # Opening a named pipe would wait for its other end.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            content = _content(file, path, limit)
        finally:
            os.close(file)
    except FileNotFoundError as error:
        raise errors.InvalidFile(path, "no such file") from error
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", "") or "no file name").lower()
        raise errors.InvalidFile(path, f"cannot be read: {reason}") from None
    if len(content) > limit:
        raise errors.InvalidFile(path, f"is larger than {limit} bytes")
    return content


def _content(file: int, path: str, limit: int) -> bytes:
    status = os.fstat(file)
    if stat.S_ISDIR(status.st_mode):
        raise errors.InvalidFile(
            path, "is a directory, not a file", hint="name a file in it"
        )
    is_null = stat.S_ISCHR(status.st_mode) and status.st_rdev == _NULL
    is_pipe = stat.S_ISFIFO(status.st_mode) and _is_unnamed(path)
    if not (stat.S_ISREG(status.st_mode) or is_null or is_pipe):
        raise errors.InvalidFile(
            path,
            "is not a regular file",
            hint="name a file; a pipe or a device may have no end",
        )
    end = time.monotonic() + PATIENCE
    chunks = []
    left = limit + 1
    while left > 0:
        if is_pipe and not _wait(file, end):
            raise errors.InvalidFile(
                path, f"is a pipe that has no end after {PATIENCE:.0f} s"
            )
        chunk = os.read(file, min(left, _CHUNK))
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _is_unnamed(path: str) -> bool:
    """Whether a pipe has no name but the one that a process has for it."""
    return os.path.realpath(path).startswith("/proc/")


def _wait(file: int, end: float) -> bool:
    """Wait until there is something to read, or the end of a pipe."""
    left = max(0.0, end - time.monotonic())
    return bool(select.select([file], [], [], left)[0])
