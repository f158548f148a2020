"""Removing the directories of roots, and names for temporary ones."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from imageprep_client import errors
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


def clean_temporary(above: Path, name: str, verb: str) -> Path:
    """A name for a temporary root; those of killed processes are removed.

    :param verb: what is done with the root, such as ``import``.
    :raises StoreError: when one of them cannot be removed.
    """
    made = re.compile(rf"\.#.+\.{verb}\.(?P<process>[0-9]{{1,10}})")
    for left in above.iterdir():
        match = made.fullmatch(left.name)
        if (
            match
            and not Path("/proc", match["process"]).exists()
            and left.is_dir()
            and not left.is_symlink()
        ):
            _remove_left(left)
    return above / f".#{name}.{verb}.{os.getpid()}"


def _remove_left(path: Path) -> None:
    try:
        remove(path)
    except FileNotFoundError:
        pass  # another process removes it, too
    except OSError as error:
        raise errors.StoreError(
            f"{path}: cannot be removed: {errors.reason(error)}",
            hint=errors.as_root(error),
        ) from error
