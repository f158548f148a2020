"""Removing the directories of roots, and naming those that do not stay."""

from __future__ import annotations

import os
import re
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


def temporary(above: Path, name: str, verb: str) -> Path:
    """The name of a root that this process makes and removes.

    Those that killed processes left are removed.

    :param verb: what is done with the root, such as ``import``.
    """
    made = re.compile(rf"\.#.+\.{verb}\.(?P<process>[0-9]{{1,10}})")
    for left in above.iterdir():
        match = made.fullmatch(left.name)
        if match and not Path("/proc", match["process"]).exists():
            remove(left)
    return above / f".#{name}.{verb}.{os.getpid()}"
