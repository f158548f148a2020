"""Overlays of two directories, mounted where no path leads.

A new root of such a machine is an upper directory that hides all of the lower
one, so that two upper directories can be exchanged and the lower one stays as
it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors

_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_SET_STRING, _CREATE = 1, 6
_CLOEXEC = 1
_RDONLY, _NODEV = 0x1, 0x4
_OPAQUE = "trusted.overlay.opaque"


@contextlib.contextmanager
def merged(
    lower: Path, upper: Path, work: Path | None = None
) -> Iterator[Path]:
    """The overlay of two directories in the block.

    It is mounted in no namespace, and is gone when this process ends,
    however that happens. Child processes reach it, too.

    :param work: an empty directory beside `upper`, for the kernel; without
        it, nothing can be written.
    :raises StoreError: when it cannot be mounted.
    """
    with contextlib.ExitStack() as stack:

        def held(descriptor: int) -> int:
            stack.callback(os.close, descriptor)
            return descriptor

        def named(path: Path) -> str:
            """A short name, without characters that would end it."""
            flags = os.O_PATH | os.O_DIRECTORY
            return f"/proc/self/fd/{held(os.open(path, flags))}"

        try:
            options = {"lowerdir": f"{named(upper)}:{named(lower)}"}
            if work is not None:
                options = {
                    "lowerdir": named(lower),
                    "upperdir": named(upper),
                    "workdir": named(work),
                }
            context = held(_call(_FSOPEN, b"overlay", _CLOEXEC))
            for key, value in {"source": "overlay", **options}.items():
                words = key.encode(), value.encode()
                _call(_FSCONFIG, context, _SET_STRING, *words, 0)
            _call(_FSCONFIG, context, _CREATE, None, None, 0)
            flags = _NODEV if work else _NODEV | _RDONLY
            mount = held(_call(_FSMOUNT, context, _CLOEXEC, flags))
        except OSError as error:
            raise errors.StoreError(
                f"{upper}: its overlay cannot be mounted:"
                f" {errors.reason(error)}",
                hint=errors.as_root(error),
            ) from error
        yield Path(f"/proc/{os.getpid()}/fd/{mount}")


def _call(number: int, *arguments: object) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def hide_lower(upper: Path, lower: Path) -> None:
    """Make an upper directory hide everything in the lower one."""
    names = set(os.listdir(upper))
    for name in os.listdir(lower):
        if name not in names:
            # A whiteout, in the form of the kernel.
            os.mknod(upper / name, stat.S_IFCHR | 0o000, os.makedev(0, 0))
    for name in names:
        path = upper / name
        if path.is_dir() and not path.is_symlink():
            os.setxattr(path, _OPAQUE, b"y", follow_symlinks=False)
