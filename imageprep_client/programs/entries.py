"""Directory entries of file systems that programs read."""

from __future__ import annotations

from typing import NamedTuple


class FileEntry(NamedTuple):
    """One entry of a directory.

    :ivar inode: the number of the file in its file system.
    :ivar kind: ``file``, ``directory``, ``link`` or ``other``.
    :ivar size: the size of a regular file; 0 for others.
    """

    inode: int
    kind: str
    size: int


def kind_of(mode: int) -> str:
    """The kind of a file with this mode."""
    kinds = {0o040000: "directory", 0o100000: "file", 0o120000: "link"}
    return kinds.get(mode & 0o170000, "other")
