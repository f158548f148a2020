"""Files of stores on a disk: whole or not at all, regular or not there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
#: Why the kernel may refuse a hard link where copying would still do.
_UNLINKABLE = frozenset(
    {errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.ENOENT}
)
_PREFIX, _SUFFIX = ".imageprep-", ".tmp"


@contextlib.contextmanager
def reported(root: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn what the system says about a file into an error of the package.

    :param needed: bytes that are about to be written.
    """
    try:
        yield
    except OSError as error:
        raise _translated(error, root, needed) from error


def _translated(
    error: OSError, root: Path, needed: int | None
) -> errors.StoreError:
    # Of a rename, the place and not the temporary name.
    path = error.filename2 or error.filename or root
    reason = (error.strerror or str(error)).lower()
    if error.errno in _FULL:
        free = free_space(root)
        amount = "" if needed is None else f"{needed} bytes needed, "
        return errors.NoSpace(
            f"{root}: {reason}: {amount}{free} bytes free",
            needed=needed,
            free=free,
        )
    if error.errno in _DENIED:
        return errors.AccessDenied(
            f"{path}: {reason}",
            hint="run it with sudo, or give the directory to your user",
        )
    return errors.StoreError(f"{path}: {reason}")


def free_space(path: Path) -> int:
    """Bytes that an unprivileged user can still write at or above `path`."""
    while not path.exists():
        path = path.parent
    room = os.statvfs(path)
    return room.f_bavail * room.f_frsize


def check_room(path: Path, needed: int) -> None:
    """Find out whether so many bytes can be written, as far as one can know.

    :raises OSError: ENOSPC, when they cannot.
    """
    if needed > free_space(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@contextlib.contextmanager
def staged(directory: Path) -> Iterator[Path]:
    """A fresh name in `directory`; a file that still has it then goes."""
    path = directory / f"{_PREFIX}{secrets.token_hex(8)}{_SUFFIX}"
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


def remove_stale(directory: Path, older_than: float) -> None:
    """Remove what killed runs left of `staged`.

    :param older_than: time since the epoch; what was written to after it is
        somebody's who is still at work.
    """
    for path in directory.glob(f"{_PREFIX}*{_SUFFIX}"):
        with contextlib.suppress(FileNotFoundError):
            if path.lstat().st_mtime < older_than:
                path.unlink()


def create(path: Path) -> io.FileIO:
    """Open a new file for writing.

    No room is reserved: a file is as long as what was written to it, and
    what a power failure cut short has not the length of the whole.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    return io.FileIO(os.open(path, flags, 0o666), "w")


def write_all(file: io.FileIO, content: bytes) -> None:
    """Write all of it, however little the system takes at a time."""
    view = memoryview(content)
    while view:
        view = view[file.write(view) :]


def replace(path: Path, content: bytes) -> None:
    """Give `path` this content; readers see the old or the new, whole."""
    with staged(path.parent) as temporary:
        with create(temporary) as file:
            write_all(file, content)
        temporary.rename(path)


def link(origin: Path, path: Path, staging: Path) -> bool:
    """Let `path` be another name of the file `origin`.

    :param staging: a directory of the same file system.
    :returns: False where only a copy would do.
    """
    try:
        with staged(staging) as temporary:
            os.link(origin, temporary, follow_symlinks=False)
            temporary.rename(path)
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    return True


def regular_size(path: Path) -> int | None:
    """The size of a regular file; None for anything else, or nothing."""
    try:
        status = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def absence(path: Path) -> str:
    """Why there is no directory, for messages."""
    if path.is_symlink() and not path.exists():
        return f"a symbolic link to {os.readlink(path)}, which is not there"
    return "not a directory" if path.exists() else "no such directory"


def is_within(root: Path, path: Path) -> bool:
    """Whether no symbolic link leads from `root` to elsewhere."""
    # Path.resolve raises a RuntimeError for links that go in circles.
    return Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))


def open_regular(root: Path, path: Path) -> io.FileIO | None:
    """Open a regular file below `root` for reading.

    :returns: None when there is none, or when a symbolic link leads there
        or out of `root`.
    """
    # Without O_NONBLOCK a planted FIFO would block for ever.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        if not is_within(root, path.parent):
            return None
        descriptor = os.open(path, flags)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    return io.FileIO(descriptor)


def read(root: Path, path: Path, limit: int) -> bytes | None:
    """The content of a small regular file below `root`, or None.

    At most `limit` bytes are read.
    """
    file = open_regular(root, path)
    if file is None:
        return None
    with io.BufferedReader(file) as buffered:
        return buffered.read(limit)


def synchronise(path: Path) -> None:
    """Return when the file system of `path` has all its data on the disk."""
    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(path))
    finally:
        os.close(descriptor)
