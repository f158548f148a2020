"""Overlays of two directories, mounted where no path leads."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_SET_STRING, _CREATE = 1, 6
_CLOEXEC = 1
_RDONLY, _NODEV = 0x1, 0x4


@contextlib.contextmanager
def merged(lower: Path, upper: Path) -> Iterator[Path]:
    """The overlay of two directories, to be read in the block.

    It is mounted in no namespace, and is gone when this process ends,
    however that happens. Child processes reach it, too.

    :raises StoreError: when it cannot be mounted.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    descriptors: list[int] = []

    def call(number: int, *arguments: object) -> int:
        result = int(libc.syscall(number, *arguments))
        if result < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        return result

    for path in (lower, upper):
        if set(str(path)) & set(":,\\"):
            raise errors.StoreError(f"{path}: cannot be part of an overlay")
    try:
        context = call(_FSOPEN, b"overlay", _CLOEXEC)
        descriptors.append(context)
        # The first directory hides, and removes, what is in the second.
        for key, value in (
            (b"source", b"overlay"),
            (b"lowerdir", os.fsencode(f"{upper}:{lower}")),
        ):
            call(_FSCONFIG, context, _SET_STRING, key, value, 0)
        call(_FSCONFIG, context, _CREATE, None, None, 0)
        mount = call(_FSMOUNT, context, _CLOEXEC, _RDONLY | _NODEV)
        descriptors.append(mount)
        yield Path(f"/proc/{os.getpid()}/fd/{mount}")
    except OSError as error:
        raise errors.StoreError(
            f"{upper}: its overlay cannot be mounted: {errors.reason(error)}",
            hint="run it as root",
        ) from error
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
