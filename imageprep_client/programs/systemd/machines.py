"""Machines that systemd runs, by ``machinectl``."""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import descriptors
from imageprep_client.programs.process import Program
from imageprep_client.programs.systemd.units import SystemdError, is_running

_MACHINECTL = Program(
    "machinectl",
    {"LC_ALL": "C.UTF-8"},
    package="systemd-container",
    error=SystemdError,
)
#: For each kind of file system the calls of ioctl(2) that get and set flags,
#: and the flag of a directory that cannot be changed.
_READ_ONLY = (
    # BTRFS_IOC_SUBVOL_GETFLAGS and BTRFS_SUBVOL_RDONLY.
    (0x80089419, 0x4008941A, 0x2),
    # FS_IOC_GETFLAGS and FS_IMMUTABLE_FL.
    (0x80086601, 0x40086602, 0x10),
)


def machine_unit(name: str) -> str:
    """The unit that runs a machine."""
    return f"systemd-nspawn@{name}.service"


def machine_state(name: str) -> str:
    """The state of a machine, such as ``running`` or ``stopped``.

    :raises SystemdError: when systemd cannot be asked.
    """
    if not is_running():
        raise SystemdError(f"{name}: systemd is not running")
    return _shown(name, "State") or "stopped"


def machine_leader(name: str) -> int | None:
    """The first process of a running machine; None unless it runs.

    :raises SystemdError: when systemd cannot be asked.
    """
    leader = _shown(name, "Leader")
    return int(leader) if leader.isdigit() else None


def _shown(name: str, key: str) -> str:
    """A property of a machine; empty unless it runs."""
    words = ("show", f"--property={key}", "--value", name)
    told = _MACHINECTL.attempt(*words)
    if told.status == 0:
        return told.stdout.strip()
    if "No machine" in told.stderr:
        return ""
    raise _MACHINECTL.failure(("show",), told.stderr.strip())


def is_read_only(path: Path) -> bool:
    """Whether a root is marked read-only, as systemd does it."""
    with descriptors.opened(path, os.O_DIRECTORY) as descriptor:
        for get, _, flag in _READ_ONLY:
            flags = array.array("L", [0])
            # The other kind of file system has no such flags.
            with contextlib.suppress(OSError):
                fcntl.ioctl(descriptor, get, flags)
                if flags[0] & flag:
                    return True
    return False


def set_read_only(path: Path) -> None:
    """Mark a root read-only, as systemd does it.

    :raises SystemdError: if its file system has no such mark.
    """
    reason = ""
    with descriptors.opened(path, os.O_DIRECTORY) as descriptor:
        for get, put, flag in _READ_ONLY:
            flags = array.array("L", [0])
            try:
                fcntl.ioctl(descriptor, get, flags)
                flags[0] |= flag
                fcntl.ioctl(descriptor, put, flags)
            except OSError as error:
                reason = errors.reason(error)
            else:
                return
    raise SystemdError(f"{path}: cannot be marked read-only: {reason}")
