"""Roots of LXC that are overlays: an upper directory over a shared lower one.

A new root is an upper directory that hides all of the lower one, so that two
upper directories can be exchanged and the lower one stays as it is.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.machine.roots import MachineRoot
from imageprep_client.programs.process import Program

_OPAQUE = "trusted.overlay.opaque"


class OverlayError(errors.StoreError):
    """An overlay cannot be mounted."""


@contextlib.contextmanager
def merged(root: MachineRoot, place: Path) -> Iterator[Path]:
    """The files of a root as its machine sees them, read only.

    :param place: a directory to mount an overlay at.
    """
    if root.lower is None:
        yield root.path
        return
    unmount(place)
    with mounted((root.path, root.lower), place):
        yield place


@contextlib.contextmanager
def mounted(
    layers: Sequence[Path],
    place: Path,
    *,
    upper: Path | None = None,
    work: Path | None = None,
) -> Iterator[None]:
    """Mount an overlay for the block.

    :param layers: the lower directories, the topmost first.
    :param place: a directory, which is made where it is missing.
    :param upper: what is written to; None: the overlay is read only.
    :param work: an empty directory beside `upper`, for the kernel.
    """
    options = f"lowerdir={':'.join(map(_escaped, layers))}"
    if upper is None or work is None:
        options = f"ro,{options}"
    else:
        work.mkdir(mode=0o700, exist_ok=True)
        options += f",upperdir={_escaped(upper)},workdir={_escaped(work)}"
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    mount = Program("mount", error=OverlayError)
    mount.run("-t", "overlay", "-o", options, "overlay", str(place))
    try:
        yield
    finally:
        unmount(place)


def unmount(place: Path) -> None:
    """Unmount what a killed command left mounted, if anything."""
    if os.path.ismount(place):
        program = Program("umount", error=OverlayError)
        program.run("--lazy", "--", str(place), last=True)


def hide_lower(upper: Path, lower: Path) -> None:
    """Let an upper directory hide all that is in the lower one."""
    names = set(os.listdir(upper))
    for name in os.listdir(lower):
        if name not in names:
            # A whiteout, in the form of the kernel.
            os.mknod(upper / name, stat.S_IFCHR | 0o000, os.makedev(0, 0))
    for name in names:
        path = upper / name
        if path.is_dir() and not path.is_symlink():
            os.setxattr(path, _OPAQUE, b"y", follow_symlinks=False)


def _escaped(path: Path) -> str:
    text = str(path)
    for character in ("\\", ":", ","):
        text = text.replace(character, f"\\{character}")
    return text
