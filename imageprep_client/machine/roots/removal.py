"""Removing the directories of roots."""

from __future__ import annotations

import shutil
from pathlib import Path

from imageprep_client.programs import btrfs


def remove(path: Path) -> None:
    """Remove a root, or a directory with a root in it."""
    if btrfs.is_subvolume(path):
        btrfs.delete(path)
        return
    for below in path.iterdir():
        if not below.is_symlink() and btrfs.is_subvolume(below):
            btrfs.delete(below)
    shutil.rmtree(path)
