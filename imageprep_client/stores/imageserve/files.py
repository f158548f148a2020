"""Files of a tree: staged outside of what is served, and readable to all."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path

from imageprep_client.host import disk

#: Served files and directories are for the web server's user to read,
#: whatever the umask.
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755


def make_directory(path: Path) -> None:
    """Make a directory and what is missing above it."""
    try:
        path.mkdir(DIRECTORY_MODE)
    except FileExistsError:
        return
    except FileNotFoundError:
        make_directory(path.parent)
        path.mkdir(DIRECTORY_MODE, exist_ok=True)
    path.chmod(DIRECTORY_MODE)


@contextlib.contextmanager
def staged_directory(incoming: Path) -> Iterator[Path]:
    """A fresh empty directory; if it is still there at the end, it goes."""
    path = incoming / secrets.token_hex(12)
    make_directory(path)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def create(path: Path) -> io.FileIO:
    """Open a new file for writing."""
    file = disk.create(path)
    os.fchmod(file.fileno(), FILE_MODE)
    return file


def write(path: Path, content: bytes) -> None:
    """Write a new file."""
    with create(path) as file:
        disk.write_all(file, content)


def replace(incoming: Path, path: Path, content: bytes) -> None:
    """Give `path` this content; readers see the old or the new, whole."""
    make_directory(path.parent)
    with disk.staged(incoming) as temporary:
        write(temporary, content)
        temporary.rename(path)
