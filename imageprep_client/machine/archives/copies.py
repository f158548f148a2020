"""The replacements in an export for the files that it leaves out."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from imageprep_client.host.reading import Kind, ReadableDirectory
from imageprep_client.machine import scrub
from imageprep_client.machine.scrub import Scrub, ScrubbedPath

#: No file of this kind is larger.
_MAX_SIZE = 16 << 20


def make(
    root: ReadableDirectory, scrubbed: Sequence[ScrubbedPath], top: Path
) -> None:
    """Write the changed copies at their paths below `top`.

    Owners, modes and extended attributes are those of the originals; times
    are always the same, since the originals change with every start.
    """
    top.mkdir(mode=0o700)
    for entry in scrubbed:
        if entry.action is Scrub.REMOVE:
            continue
        target = top / entry.path
        target.parent.mkdir(parents=True, exist_ok=True)
        if entry.action is Scrub.CLEAR:
            _copy_directory(root, entry.path, target)
        elif entry.action is Scrub.KEEP_DIRECTORIES:
            _copy_directories(root, entry.path, target)
        else:
            content = b""
            if entry.action is Scrub.LOCK:
                old = root.read(entry.path, _MAX_SIZE) or b""
                content = scrub.locked(old)
            _copy_file(root, entry.path, target, content)


def _copy_directories(
    root: ReadableDirectory, path: str, target: Path
) -> None:
    _copy_directory(root, path, target)
    for name, kind in root.entries(path).items():
        if kind is Kind.DIRECTORY:
            _copy_directories(root, f"{path}/{name}", target / name)
    os.utime(target, (0, 0))


def _copy_directory(root: ReadableDirectory, path: str, target: Path) -> None:
    target.mkdir(mode=0o700)
    with root.open_directory(path) as original:
        _dress(original, target)


def _copy_file(
    root: ReadableDirectory, path: str, target: Path, content: bytes
) -> None:
    original = root.open_regular(path)
    if original is None:
        return  # it was removed meanwhile
    target.touch(mode=0o600, exist_ok=False)
    target.write_bytes(content)
    with original:
        _dress(original.fileno(), target)


def _dress(original: int, copy: Path) -> None:
    """Give a copy the attributes of its original."""
    status = os.fstat(original)
    os.chown(copy, status.st_uid, status.st_gid)
    copy.chmod(stat.S_IMODE(status.st_mode))
    # A file system without attributes has nothing to copy.
    with contextlib.suppress(OSError):
        for name in sorted(os.listxattr(original)):
            os.setxattr(copy, name, os.getxattr(original, name))
    os.utime(copy, (0, 0))
