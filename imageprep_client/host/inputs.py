"""Files that are named to be read: options, variables, places of the host."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import time

from imageprep_client import errors
from imageprep_client.host import descriptors

#: No certificate bundle or configuration file of a host is larger.
MAX_SIZE = 16 * 1024 * 1024
#: Seconds that the program behind ``<(program)`` has.
PATIENCE = 60.0

_FLAGS = os.O_RDONLY | os.O_NONBLOCK
_CHUNK = 1 << 20


def load(path: str, limit: int = MAX_SIZE) -> bytes:
    """The content of a file that an option names; see `read`.

    :raises InvalidFile: when it cannot be read.
    """
    try:
        return read(path, limit)
    except FileNotFoundError as error:
        hint = "standard input is not read; name a file, or <(program)"
        raise errors.InvalidFile(
            path, "no such file", hint=hint if path == "-" else None
        ) from error
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise errors.InvalidFile(
                path, f"is larger than {limit} bytes"
            ) from None
        raise errors.InvalidFile(
            path, f"cannot be read: {errors.reason(error)}"
        ) from error
    except ValueError:
        raise errors.InvalidFile(
            path, "cannot be read: no file name"
        ) from None


def open_regular(path: str | os.PathLike[str]) -> io.BufferedReader:
    """Open a regular file to read, and nothing else.

    :raises InvalidFile: when it is none.
    """
    try:
        # A pipe must not wait for a writer.
        descriptor = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "no file name"
        raise errors.InvalidFile(
            str(path), f"cannot be read: {reason.lower()}"
        ) from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise errors.InvalidFile(str(path), "is not a regular file")
    return open(descriptor, "rb")


def read(path: str | os.PathLike[str], limit: int = MAX_SIZE) -> bytes:
    """The content of a regular file, or of ``/dev/null``.

    Or of a pipe without a name, as a shell has it for ``<(program)``, which
    has a minute. Named pipes and devices are refused, as reading them may
    block for ever.

    :raises OSError: when it cannot be read, is no such file, or is larger
        than `limit`.
    """
    with descriptors.opened(path, _FLAGS) as descriptor:
        status = os.fstat(descriptor)
        end = None
        if stat.S_ISFIFO(status.st_mode) and _is_unnamed(path):
            end = time.monotonic() + PATIENCE
        else:
            _check(status, path)
        content = _content(descriptor, limit, end)
    if len(content) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def check(path: str | os.PathLike[str]) -> None:
    """Check that `read` would open it, for libraries that open it themselves.

    :raises OSError: as `read` does; for pipes, too.
    """
    with descriptors.opened(path, _FLAGS) as descriptor:
        _check(os.fstat(descriptor), path)


def _content(descriptor: int, limit: int, end: float | None) -> bytes:
    chunks = []
    left = limit + 1
    while left > 0:
        if end is not None:
            _wait(descriptor, end)
        chunk = os.read(descriptor, min(left, _CHUNK))
        if not chunk:
            break
        chunks.append(chunk)
        left -= len(chunk)
    return b"".join(chunks)


def _wait(descriptor: int, end: float) -> None:
    """Wait until there is something to read, or the end of a pipe."""
    left = max(0.0, end - time.monotonic())
    if not select.select([descriptor], [], [], left)[0]:
        raise TimeoutError(errno.ETIMEDOUT, "The pipe has no end")


def _is_unnamed(path: str | os.PathLike[str]) -> bool:
    """Whether a pipe has no name but the one that a process has for it."""
    return os.path.realpath(path).startswith("/proc/")


def _check(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        code = errno.EISDIR
        raise OSError(code, os.strerror(code), str(path))
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):
        return
    raise OSError(errno.EINVAL, "Not a regular file", str(path))
