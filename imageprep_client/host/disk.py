"""The disk under stores: its room, its errors, its state."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import descriptors

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_RESERVE = 1 << 30
#: SYNC_FILE_RANGE_WRITE of Linux.
_WRITE = 2
#: Bytes of a growing file that are written to the disk at once.
_WRITEBACK = 8 << 20
#: More than the temporary files of a run need.
_FEW_INODES = 64
_DENIED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


@contextlib.contextmanager
def reported(root: Path, *, needed: int | None = None) -> Iterator[None]:
    """Turn an `OSError` about a file into an error of the package.

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
    reason = errors.reason(error)
    if error.errno in _FULL:
        reason = shortage(root, error)
        free = free_space(root)
        amount = "" if needed is None else f"{needed} bytes needed, "
        return errors.NoSpace(
            f"{root}: {reason}: {amount}{free} bytes free",
            needed=needed,
            free=free,
            hint="raise the limit on the size of files"
            if error.errno == errno.EFBIG
            else "make room there, or choose another destination",
        )
    if error.errno in _DENIED:
        return errors.AccessDenied(
            f"{path}: {reason}",
            hint="choose another directory, or remount it read-write"
            if error.errno == errno.EROFS
            else "run it with sudo, or give the directory to your user",
        )
    return errors.StoreError(f"{path}: {reason}")


def free_space(path: Path) -> int:
    """Bytes that an unprivileged user can still write at or above `path`."""
    room = os.statvfs(_existing(path))
    return room.f_bavail * room.f_frsize


def shortage(path: Path, error: OSError) -> str:
    """The reason of an error that tells that a file system is full."""
    room = os.statvfs(_existing(path))
    # Temporary files, removed by now, may have had the last inodes.
    few = room.f_favail < _FEW_INODES
    if room.f_bavail * room.f_frsize < _WRITEBACK:
        few = not room.f_favail
    if error.errno == errno.ENOSPC and room.f_files and few:
        return f"no inodes are left for new files on {_existing(path)}"
    return errors.reason(error)


def _existing(path: Path) -> Path:
    while not path.exists():
        path = path.parent
    return path


def check_room(path: Path, needed: int) -> None:
    """Find out whether so many bytes can be written, as far as known.

    :raises OSError: ENOSPC, when they cannot.
    """
    if needed > free_space(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Reserve:
    """Free space that must remain on the file systems of some directories.

    A program of an image can write without end. It is stopped while there is
    still room for everything else on the host: at 1 GiB, or at a quarter of
    the space that was free at first if that is less.
    """

    def __init__(self, *directories: Path) -> None:
        self._least = {
            directory: min(_RESERVE, free_space(directory) // 4)
            for directory in directories
        }

    def check(self) -> None:
        """Compare the free space with the reserve.

        :raises NoSpace: when less is left.
        """
        for directory, least in self._least.items():
            free = free_space(directory)
            if free < least:
                raise errors.NoSpace(
                    f"{directory}: only {free} bytes are left on this file"
                    f" system, less than the reserve of {least}; stopped"
                    " before it fills up",
                    needed=least,
                    free=free,
                )


def absence(path: Path) -> str:
    """The reason why there is no directory, for messages."""
    if path.is_symlink() and not path.exists():
        return f"a symbolic link to {os.readlink(path)}, which is not there"
    return "not a directory" if path.exists() else "no such directory"


@dataclasses.dataclass(frozen=True, slots=True)
class MountPoint:
    """A mount of this mount namespace.

    :ivar number: its number in the kernel's lists.
    :ivar device: the major and the minor number of the file system.
    :ivar point: the directory.
    :ivar kind: of the file system, such as ``btrfs``.
    """

    number: int
    device: tuple[int, int]
    point: str
    kind: str


def mounts() -> Sequence[MountPoint]:
    """All mounts, in their order: the last one at a place counts."""
    mounted = []
    listed = os.fsdecode(Path("/proc/self/mountinfo").read_bytes())
    # 36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw
    for line in listed.removesuffix("\n").split("\n"):
        left, _, right = line.partition(" - ")
        number, _, device, _, point, *_ = left.split(" ")
        major, minor = map(int, device.split(":"))
        # proc(5): blanks and similar characters are written in octal.
        point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), point)
        kind = right.split(" ")[0]
        mounted.append(MountPoint(int(number), (major, minor), point, kind))
    return mounted


def mounts_below(path: Path) -> list[str]:
    """The mounts at a directory and below it, by their absolute paths."""
    top = str(path.resolve())
    return sorted(
        {
            mount.point
            for mount in mounts()
            if mount.point == top or mount.point.startswith(f"{top}/")
        }
    )


def synchronise_directory(path: str | Path, dir_fd: int | None = None) -> None:
    """Return when the names in a directory are on the disk.

    :param dir_fd: a descriptor of the directory that the path begins in.
    """
    with descriptors.opened(path, os.O_DIRECTORY, dir_fd=dir_fd) as directory:
        os.fsync(directory)


class FileSystem:
    """The file system of a directory, held open.

    Linux reports a failed write to every process that has the file system
    open at that time, when the process synchronises it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError):
            os.close(self._descriptor)

    def synchronise(self) -> None:
        """Return when it has all its data on the disk."""
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(self._descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(self._path))


class Writeback:
    """Writes a file to the disk while it grows.

    Little is left for fsync at the end.

    :param advanced: is told the bytes that the file grew by.
    """

    def __init__(self, file: int, advanced: Callable[[int], None]) -> None:
        self._file = file
        self._advanced = advanced
        self._size = self._begun = 0

    def __call__(self, count: int) -> None:
        """Take note of bytes at the end of the file."""
        self._size += count
        if self._size - self._begun >= _WRITEBACK:
            begin_writing(self._file, self._begun)
            self._begun = self._size
        self._advanced(count)


def synchronise(path: Path) -> None:
    """Return when the file system of `path` has all its data on the disk."""
    FileSystem(path).synchronise()


def begin_writing(descriptor: int, offset: int = 0) -> None:
    """Start writing the end of a file to the disk, if the kernel can.

    A later synchronisation has less to write.
    """
    begin = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if begin is not None:
        # A length of 0 is all up to the end.
        begin(descriptor, ctypes.c_int64(offset), ctypes.c_int64(0), _WRITE)
