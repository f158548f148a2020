"""Entries of directories in file systems that programs read."""

from __future__ import annotations

from typing import NamedTuple


class FileEntry(NamedTuple):
    """What a directory says of one of its names.

    :ivar inode: identity of the file in its file system.
    :ivar kind: ``file``, ``directory``, ``link`` or ``other``.
    :ivar size: of a file; 0 for others.
    """

    inode: int
    kind: str
    size: int


def kind_of(mode: int) -> str:
    """The kind of a file, by its mode."""
    kinds = {0o040000: "directory", 0o100000: "file", 0o120000: "link"}
    return kinds.get(mode & 0o170000, "other")
