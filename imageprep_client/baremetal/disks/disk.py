"""Disk images as the use cases see them: a range of bytes to read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol


class Extent(NamedTuple):
    """A range of bytes of the disk."""

    offset: int
    size: int

    @property
    def end(self) -> int:
        return self.offset + self.size


class DiskFormat(NamedTuple):
    """The format of an image file.

    :ivar name: ``raw`` or ``qcow2``.
    :ivar virtual_size: bytes of the disk in it.
    """

    name: str
    virtual_size: int


class Disk(Protocol):
    """The disk in an image file whose format was inspected before.

    :ivar path: the file, as the user named it.
    :ivar size: bytes of the disk.
    """

    @property
    def path(self) -> str: ...

    @property
    def size(self) -> int: ...

    def read(self, extents: Sequence[tuple[int, int]]) -> bytes:
        """The bytes of these extents, one after the other; for metadata."""
        ...

    def save(
        self, extents: Sequence[tuple[int, int]], destination: Path
    ) -> None:
        """Write the extents, one after the other, to a new sparse file."""
        ...

    def check(self) -> None:
        """Find out whether the file holds all that its format promises.

        :raises InvalidFile: when it is damaged.
        """
        ...
