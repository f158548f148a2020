"""Files that are named to be read: options, variables, places of the host."""

from __future__ import annotations

import errno
import os
import stat

#: No certificate bundle or configuration file of a host is larger.
MAX_SIZE = 16 * 1024 * 1024


def read(path: str | os.PathLike[str], limit: int = MAX_SIZE) -> bytes:
    """The content of a regular file, or of ``/dev/null``.

    FIFOs and devices are refused, as reading them may block for ever.

    :raises OSError: when it cannot be read, is no regular file, or is larger
        than `limit`.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    with open(os.open(path, flags), "rb") as stream:
        _check(os.fstat(stream.fileno()), path)
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return data


def check(path: str | os.PathLike[str]) -> None:
    """See that `read` would open it, for libraries that open it themselves.

    :raises OSError: as `read` does.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags)
    try:
        _check(os.fstat(descriptor), path)
    finally:
        os.close(descriptor)


def _check(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if stat.S_ISREG(status.st_mode):
        return
    if stat.S_ISDIR(status.st_mode):
        code = errno.EISDIR
        raise OSError(code, os.strerror(code), str(path))
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3):
        return
    raise OSError(errno.EINVAL, "Not a regular file", str(path))
