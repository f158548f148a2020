"""Two directories that exchange their names, in one step."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.descriptors import opened

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# BTRFS_IOC_INO_LOOKUP: with no tree given, it tells that of the descriptor.
_INO_LOOKUP = 0xD0009412
_FIRST_FREE_OBJECT = 256


def exchange(path: Path, other: Path) -> None:
    """Exchange two names in one file system.

    Both names exist at every moment.

    :raises StoreError: where the file system cannot do it.
    :raises OSError: for all other reasons.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        raise errors.StoreError(
            "the C library of this host has no renameat2",
            hint="glibc has it from version 2.28 on",
        )
    result = call(
        _AT_FDCWD,
        os.fsencode(path),
        _AT_FDCWD,
        os.fsencode(other),
        _RENAME_EXCHANGE,
    )
    if result == 0:
        return
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        raise errors.StoreError(
            f"{path}: this file system cannot exchange two names",
            hint="ext4, xfs, btrfs and tmpfs can",
        )
    raise OSError(number, os.strerror(number), str(path), None, str(other))


def identity(path: Path) -> str:
    """The number of a directory, which stays when it gets another name.

    It is that of the inode and, where that is the same in every subvolume,
    also of the subvolume.
    """
    with opened(path, os.O_DIRECTORY | os.O_NOFOLLOW) as descriptor:
        inode = os.fstat(descriptor).st_ino
        if inode != _FIRST_FREE_OBJECT:
            return str(inode)
        request = bytearray(4096)
        struct.pack_into("=QQ", request, 0, 0, _FIRST_FREE_OBJECT)
        try:
            fcntl.ioctl(descriptor, _INO_LOOKUP, request)
        except OSError as error:
            if error.errno in (errno.ENOTTY, errno.EINVAL):
                return str(inode)  # not btrfs
            raise
        return f"{inode}.{struct.unpack_from('=Q', request)[0]}"
