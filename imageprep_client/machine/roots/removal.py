"""Removing the directories of roots, and names for temporary ones."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.programs import btrfs
from imageprep_client.programs.process import Program

#: It removes directories however deep they are nested.
_RM = Program(
    "rm",
    {"LC_ALL": "C.UTF-8"},
    package="coreutils",
    hints=(
        (
            "Operation not permitted",
            "files may be immutable: look with lsattr -R, and clear them with"
            " chattr -i",
        ),
    ),
)


def remove(path: Path) -> None:
    """Remove a root, or a directory with a root in it.

    :raises InvalidArgument: when something is mounted in it.
    :raises StoreError: when it cannot be removed.
    """
    check_unmounted(path)
    if btrfs.is_subvolume(path):
        btrfs.delete(path)
        return
    for below in path.iterdir():
        if not below.is_symlink() and btrfs.is_subvolume(below):
            btrfs.delete(below)
    _RM.run("-rf", "--", str(path), last=True)


def check_unmounted(path: Path) -> None:
    """Check that nothing is mounted at a directory or below it.

    :raises InvalidArgument: when something is.
    """
    if mounted := disk.mounts_below(path):
        raise errors.InvalidArgument(
            f"{path}: {', '.join(mounted[:5])} is mounted on this host",
            hint="unmount it first",
        )


def temporary(above: Path, name: str, verb: str) -> Path:
    """The path of a temporary root, which names this process.

    :param verb: what is done with the root, such as ``import``.
    """
    return above / f".#{name}.{verb}.{os.getpid()}"


def abandoned(above: Path, verb: str) -> Iterator[tuple[Path, str]]:
    """The temporary roots of killed processes, and the names they are for."""
    made = re.compile(rf"\.#(?P<name>.+)\.{verb}\.(?P<process>[0-9]{{1,10}})")
    for left in above.iterdir():
        match = made.fullmatch(left.name)
        if (
            match
            and not Path("/proc", match["process"]).exists()
            and left.is_dir()
            and not left.is_symlink()
        ):
            yield left, match["name"]


def clean_temporary(above: Path, name: str, verb: str) -> Path:
    """See `temporary`; those of killed processes are removed.

    :raises StoreError: when one of them cannot be removed.
    """
    for left, _ in abandoned(above, verb):
        # Another process may remove it, too.
        with contextlib.suppress(FileNotFoundError):
            remove(left)
    return temporary(above, name, verb)
