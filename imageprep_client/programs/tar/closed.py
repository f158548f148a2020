"""Run a program where only one directory can be written to.

It runs as a program of its own, with nothing but the standard library::

    python -I -S closed.py DIRECTORY PROGRAM [ARGUMENT...]

The program has mount, network and IPC namespaces of its own. All mounts are
read-only and without devices, except `DIRECTORY`, its working directory, which
has no devices either.
"""

from __future__ import annotations

import ctypes
import os
import sys

_CLONE_NEWNS, _CLONE_NEWIPC, _CLONE_NEWNET = 0x20000, 0x8000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 0x40000
_MOUNT_SETATTR = 442
_AT_FDCWD, _AT_RECURSIVE = -100, 0x8000
_RDONLY, _NOSUID, _NODEV = 0x1, 0x2, 0x4
_NO_NEW_PRIVILEGES = 38
_LIBC = ctypes.CDLL(None, use_errno=True)


class _MountAttributes(ctypes.Structure):
    """struct mount_attr of mount_setattr(2)."""

    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


def close(directory: str) -> None:
    """Enter such namespaces, and change to the directory."""
    flags = _CLONE_NEWNS | _CLONE_NEWNET | _CLONE_NEWIPC
    _check(_LIBC.unshare(flags), "unshare")
    _mount(None, b"/", None, _MS_REC | _MS_PRIVATE, None)
    target = os.fsencode(directory)
    _mount(target, target, None, _MS_BIND, None)
    _set_attributes("/", _MountAttributes(attr_set=_RDONLY | _NODEV))
    _set_attributes(directory, _MountAttributes(attr_clr=_RDONLY))
    os.chdir(directory)
    _check(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")


def _mount(
    source: bytes | None,
    target: bytes,
    kind: bytes | None,
    flags: int,
    data: bytes | None,
) -> None:
    _check(_LIBC.mount(source, target, kind, flags, data), "mount")


def _set_attributes(path: str, attributes: _MountAttributes) -> None:
    result = _LIBC.syscall(
        *(_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(path), _AT_RECURSIVE),
        *(ctypes.byref(attributes), ctypes.sizeof(attributes)),
    )
    _check(result, "mount_setattr")


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    try:
        close(sys.argv[1])
        # Directories that the archive does not have are made with it.
        os.umask(0o022)
        os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - without a shell
    except OSError as error:
        hint = "Linux 5.12 is needed, and root"
        sys.exit(f"tar: {error.strerror or error} ({hint})")
