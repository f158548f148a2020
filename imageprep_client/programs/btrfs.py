"""Subvolumes of btrfs: made, copied and deleted in constant time."""

from __future__ import annotations

import os
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.programs.process import Program

#: The inode of the top of every subvolume.
_TOP_INODE = 256


class BtrfsError(errors.StoreError):
    """The program ``btrfs`` failed, or is not installed."""


_BTRFS = Program(
    "btrfs", {"LC_ALL": "C.UTF-8"}, package="btrfs-progs", error=BtrfsError
)


def is_btrfs(path: Path) -> bool:
    """Whether a file or directory is in a btrfs file system."""
    # Mounts are listed from the first to the last: the last one counts.
    device = os.stat(path).st_dev
    kind = ""
    for mount in disk.mounts():
        above = mount.point.rstrip("/") + "/"
        if f"{path.resolve()}/".startswith(above):
            kind = mount.kind
    return kind == "btrfs" and device != 0


def is_subvolume(path: Path) -> bool:
    """Whether a directory is the top of a subvolume."""
    status = os.stat(path, follow_symlinks=False)
    return status.st_ino == _TOP_INODE and is_btrfs(path)


def create(path: Path) -> None:
    """Make an empty subvolume."""
    _BTRFS.run("subvolume", "create", "--", str(path))


def snapshot(source: Path, path: Path, *, read_only: bool = False) -> None:
    """Make a snapshot of a subvolume, without those nested in it."""
    words = ("-r",) if read_only else ()
    _BTRFS.run("subvolume", "snapshot", *words, "--", str(source), str(path))


def delete(path: Path) -> None:
    """Delete a subvolume that has no others in it."""
    _BTRFS.run("subvolume", "delete", "--", str(path), last=True)


def nested(path: Path) -> list[str]:
    """The subvolumes in a subvolume, relative to it; all depths."""
    told = _BTRFS.run("subvolume", "list", "-o", "--", str(path))
    below = []
    for line in told.splitlines():
        _, separator, name = line.partition(" path ")
        if separator:
            below.append(name)
    return below
