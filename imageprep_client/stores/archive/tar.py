"""The members of a tar, read and written at any offset.

Only regular files are accepted: an archive never needs links, devices or
extended headers, and a reader that followed them could be led anywhere.
"""

from __future__ import annotations

import dataclasses
import tarfile
from collections.abc import Callable, Iterator

BLOCK = 512
#: Ends a tar.
END = bytes(2 * BLOCK)
# A blob with the longest digest has a name of some 140 characters.
_MAX_NAME = 1024
#: More than the blobs of any deployment; each takes memory.
_MAX_MEMBERS = 1_000_000

#: Gives bytes from an offset on, fewer only at the end.
Read = Callable[[int, int], bytes]


class NotAsExpected(Exception):
    """The bytes are not the expected tar; the text has the reason."""


@dataclasses.dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar.

    :ivar start: the offset of its header.
    :ivar offset: the offset of its content.
    """

    name: str
    start: int
    offset: int
    size: int

    @property
    def end(self) -> int:
        """The offset of the next header."""
        return self.offset + padded(self.size)


def padded(size: int) -> int:
    """A size with the padding that a tar puts behind it."""
    return -(-size // BLOCK) * BLOCK


def header(name: str, size: int) -> bytes:
    """The header of a member."""
    member = tarfile.TarInfo(name)
    member.size = size
    return member.tobuf(tarfile.GNU_FORMAT, "ascii", "strict")


def members(read: Read) -> Iterator[Member]:
    """All regular files, in their order.

    :raises NotAsExpected: when there is anything else but directories, or
        the end is missing.
    """
    start = 0
    for _ in range(_MAX_MEMBERS):
        entry = _next(read, start)
        if entry is None:
            return
        member, is_directory = entry
        if not is_directory:
            yield member
        start = member.end
    raise NotAsExpected(f"more than {_MAX_MEMBERS} members")


def _next(read: Read, start: int) -> tuple[Member, bool] | None:
    """The member whose header is at an offset; None at the end."""
    info = _header(read, start)
    offset = start + BLOCK
    name = ""
    if info and info.type == tarfile.GNUTYPE_LONGNAME:
        if not 0 < info.size <= _MAX_NAME:
            raise NotAsExpected(f"a name of {info.size} characters")
        name = read(offset, info.size).rstrip(b"\0").decode("ascii", "replace")
        offset += padded(info.size)
        info = _header(read, offset)
        offset += BLOCK
    if info is None:
        if name or read(start, len(END)) != END:
            raise NotAsExpected("truncated")
        return None
    name = name or info.name
    if not (info.isreg() or info.isdir()) or info.issparse():
        raise NotAsExpected(f"{name!r}: not a regular file")
    if info.size < 0 or (info.isdir() and info.size):
        raise NotAsExpected(f"{name!r}: a size of {info.size}")
    return Member(name, start, offset, info.size), info.isdir()


def _header(read: Read, offset: int) -> tarfile.TarInfo | None:
    """The header at an offset; None for an empty block."""
    block = read(offset, BLOCK)
    if len(block) < BLOCK:
        raise NotAsExpected("truncated")
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "ascii", "backslashreplace")
    except tarfile.HeaderError as error:
        raise NotAsExpected(f"no tar: {error}") from None
