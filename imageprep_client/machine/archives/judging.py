"""Members of a tar archive, judged by their headers while they pass.

GNU tar unpacks what is passed on. So that both understand the same of a
header, everything is refused that could be read in two ways: wrong checksums,
sizes of members without content, names said twice, unknown types.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping

from imageprep_client import errors
from imageprep_client.machine.archives.privileged import is_declared

_BLOCK = 512
#: Bytes of extended headers of one member.
_MAX_EXTENDED = 1 << 20
_MAX_PATH = 4096
_ZERO = bytes(_BLOCK)
_CHECKSUM = slice(148, 156)
# Eight spaces stand for the checksum in its own sum.
_SPACES = 8 * ord(" ")
_FILE, _LINK, _SYMLINK, _CHARACTER, _BLOCKS, _FOLDER, _FIFO = b"0123456"
_CONTIGUOUS = ord("7")
_SPARSE, _LONG_NAME, _LONG_LINK, _PAX, _GLOBAL = b"SLKxg"
_DEVICES = (_CHARACTER, _BLOCKS)
_SET_ID = 0o6000
#: Keys that a header may have once only, and that tell what a member is.
_TELLING = frozenset({b"path", b"linkpath", b"size", b"GNU.sparse.name"})
_CAPABILITY = b"SCHILY.xattr.security.capability"
_OVERLAY = b"SCHILY.xattr.trusted.overlay."
#: Parts of a path that say nothing.
_IDLE = (b"", b".")


class BadArchive(errors.InvalidContent):
    """An archive must not be unpacked."""


@dataclasses.dataclass(frozen=True, slots=True)
class UnpackLimits:
    """The bounds of an archive.

    :ivar size: bytes of all its files.
    :ivar members: their number.
    """

    size: int = 1 << 38
    members: int = 5_000_000


@dataclasses.dataclass(slots=True)
class UnpackedRoot:
    """Counts of the members that were accepted and unpacked.

    :ivar size: bytes of all files.
    :ivar privileged: paths of programs with set-id bits or capabilities.
    :ivar devices: members below ``/dev``, which were left out.
    """

    members: int = 0
    size: int = 0
    devices: int = 0
    privileged: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True, slots=True)
class _Head:
    """The length of the headers of a member and of its content."""

    length: int
    body: int
    is_dropped: bool


class Judge:
    """Judges an archive, piece by piece.

    :param name: the archive, for messages.
    :param declared: further paths that may be privileged, such as
        ``usr/local/bin/helper``.
    """

    def __init__(
        self,
        name: str,
        limits: UnpackLimits,
        declared: frozenset[str] = frozenset(),
    ) -> None:
        self.judged = UnpackedRoot()
        self._name = name
        self._limits = limits
        self._declared = declared
        # The type of each member by its path; directories are implied.
        self._types: dict[bytes, int] = {b"": _FOLDER}
        self._rest = b""
        self._body = 0
        self._drop = False
        self._ended = False

    def feed(self, data: bytes) -> list[memoryview]:
        """Judge the next piece of the archive.

        :returns: the accepted content of this and earlier pieces.
        :raises BadArchive: and then nothing of this piece is accepted.
        """
        if self._rest:
            data = self._rest + data
        view = memoryview(data)
        passed = []
        start = at = 0
        end = len(data)
        while at < end:
            if self._body:
                step = min(self._body, end - at)
                self._body -= step
                at += step
            elif self._ended:
                if data.count(0, at) != end - at:
                    raise self._bad("has content after its end")
                at = end
            else:
                head = self._head(data, at)
                if head is None:
                    break
                if head.is_dropped:
                    passed.append(view[start:at])
                at += head.length
                self._body = head.body
                self._drop = head.is_dropped
            if self._drop:
                start = at
        self._rest = data[at:]
        passed.append(view[start:at])
        return passed

    def finish(self) -> None:
        """The archive has no more pieces.

        :raises BadArchive: when it is cut short.
        """
        if self._body or self._rest or not self._ended:
            raise self._bad("is cut short")
        if not self.judged.members:
            raise self._bad("is empty")

    def _bad(self, problem: str, path: bytes | None = None) -> BadArchive:
        where = self._name
        if path is not None:
            shown = path.decode(errors="backslashreplace")[:200]
            where = f"{where}: {shown!r}"
        return BadArchive(f"{where}: {problem}")

    def _head(self, data: bytes, at: int) -> _Head | None:
        """All headers of the next member; None while some are missing.

        :raises BadArchive: when the member must not be unpacked.
        """
        records: dict[bytes, bytes] = {}
        first = at
        while True:
            header = data[at : at + _BLOCK]
            if len(header) < _BLOCK:
                return None
            if header == _ZERO:
                return self._end(data, first, at, bool(records))
            self._check_header(header)
            kind = header[156]
            at += _BLOCK
            if kind not in (_PAX, _GLOBAL, _LONG_NAME, _LONG_LINK):
                break
            size = self._number(header[124:136], "the size of a header")
            if size > _MAX_EXTENDED or at - first > 2 * _MAX_EXTENDED:
                raise self._bad("has extended headers of over 1 MiB")
            content = data[at : at + size]
            at += _padded(size)
            if len(data) < at:
                return None
            self._read_extended(kind, content, records)
        sparse = kind == _SPARSE and header[482]
        while sparse:
            if len(data) < at + _BLOCK:
                return None
            if at - first > 2 * _MAX_EXTENDED:
                raise self._bad("has a map of a sparse file of over 1 MiB")
            sparse = data[at + 504]
            at += _BLOCK
        size = self._size(header, records)
        dropped = self._judge(header, records, size)
        return _Head(at - first, _padded(size), dropped)

    def _end(
        self, data: bytes, first: int, at: int, is_begun: bool
    ) -> _Head | None:
        second = data[at + _BLOCK : at + 2 * _BLOCK]
        if len(second) < _BLOCK:
            return None
        if second != _ZERO or is_begun:
            raise self._bad("is not properly terminated")
        self._ended = True
        return _Head(at + 2 * _BLOCK - first, 0, False)

    def _check_header(self, header: bytes) -> None:
        if header[257:262] != b"ustar":
            raise self._bad("is not a tar archive in ustar, pax or GNU format")
        told = self._number(header[_CHECKSUM], "a checksum")
        if told != sum(header) - sum(header[_CHECKSUM]) + _SPACES:
            raise self._bad("has a header with a wrong checksum")

    def _number(self, field: bytes, what: str) -> int:
        if field[0] == 0x80:
            return int.from_bytes(field[1:])
        text = field.strip(b" \0")
        try:
            return int(text, 8) if text else 0
        except ValueError:
            raise self._bad(f"has an invalid number for {what}") from None

    def _read_extended(
        self, kind: int, content: bytes, records: dict[bytes, bytes]
    ) -> None:
        """Add the records of an extended header to `records`."""
        if kind in (_LONG_NAME, _LONG_LINK):
            key = b"path" if kind == _LONG_NAME else b"linkpath"
            added = [(key, content.rstrip(b"\0"))]
        else:
            added = self._pax_records(content)
        for key, value in added:
            if kind == _GLOBAL and key != b"comment":
                raise self._bad("has a global header")
            if key in _TELLING and key in records:
                raise self._bad("has two names for one member")
            if key.startswith(_OVERLAY):
                raise self._bad("has attributes of an overlay file system")
            records[key] = value

    def _pax_records(self, content: bytes) -> list[tuple[bytes, bytes]]:
        records = []
        at = 0
        while at < len(content):
            space = content.find(b" ", at, at + 9)
            length = content[at:space]
            end = at + int(length) if length.isdigit() and space > 0 else 0
            key, equals, value = content[space + 1 : end - 1].partition(b"=")
            if end <= space or content[end - 1 : end] != b"\n" or not equals:
                raise self._bad("has a malformed extended header")
            records.append((key, value))
            at = end
        return records

    def _size(self, header: bytes, records: Mapping[bytes, bytes]) -> int:
        """Bytes of a member in the archive."""
        text = records.get(b"size")
        if text is None:
            return self._number(header[124:136], "a size")
        if not text.isdigit() or len(text) > 18:
            raise self._bad("has an invalid size")
        return int(text)

    def _judge(
        self, header: bytes, records: Mapping[bytes, bytes], size: int
    ) -> bool:
        """Judge a member.

        :returns: whether it is left out.
        """
        told = records.get(b"GNU.sparse.name") or records.get(b"path")
        if told is None:
            told = header[:100].partition(b"\0")[0]
            prefix = header[345:500].partition(b"\0")[0]
            if prefix and header[257:263] == b"ustar\0":
                told = prefix + b"/" + told
        path = self._path(told)
        kind = header[156] or _FILE
        if kind == _CONTIGUOUS:
            kind = _FILE
        self._count(size)
        if path.startswith(b"dev/"):
            # It is made again at each start, and may be a device here.
            self.judged.devices += 1
            return True
        if size and kind not in (_FILE, _SPARSE):
            raise self._bad("has content and is not a file", path)
        self._place(path, kind)
        if kind in (_FILE, _SPARSE):
            mode = self._number(header[100:108], "a mode")
            self._check_privileges(path, mode, records)
        elif kind == _LINK:
            target = records.get(b"linkpath")
            if target is None:
                target = header[157:257].partition(b"\0")[0]
            self._check_link(path, self._path(target))
        elif kind in _DEVICES:
            raise self._bad("is a device", path)
        elif kind not in (_SYMLINK, _FOLDER, _FIFO):
            raise self._bad(f"is of the unknown type {chr(kind)!r}", path)
        return False

    def _path(self, told: bytes) -> bytes:
        """The path of a member in the root; empty for the root itself."""
        path = told.removeprefix(b"./").rstrip(b"/")
        if path == b".":
            path = b""
        if told.startswith(b"/"):
            raise self._bad("has an absolute name", told)
        if len(path) > _MAX_PATH:
            raise self._bad("has a name that is too long", told)
        if b".." in path or b"//" in path or b"/./" in path:
            parts = path.split(b"/")
            if b".." in parts:
                raise self._bad("leaves the root", told)
            path = b"/".join(part for part in parts if part not in _IDLE)
        if not path.isascii() or not path.decode().isprintable():
            self._check_characters(path)
        return path

    def _check_characters(self, path: bytes) -> None:
        text = path.decode(errors="surrogateescape")
        if any(unicodedata.category(char) == "Cc" for char in text):
            raise self._bad("has control characters in its name", path)

    def _count(self, size: int) -> None:
        judged, limits = self.judged, self._limits
        judged.members += 1
        judged.size += size
        if judged.members > limits.members:
            raise self._bad(f"has more than {limits.members} members")
        if judged.size > limits.size:
            raise self._bad(f"has files of more than {limits.size} bytes")

    def _place(self, path: bytes, kind: int) -> None:
        """Check that a member is new and all its parents are directories."""
        types = self._types
        if not path:
            if kind != _FOLDER:
                raise self._bad("the root is not a directory")
            return
        before = types.get(path)
        if before is not None and (before, kind) != (_FOLDER, _FOLDER):
            raise self._bad("is in the archive twice", path)
        above = path.rpartition(b"/")[0]
        while above not in types:
            types[above] = _FOLDER
            above = above.rpartition(b"/")[0]
        if types[above] != _FOLDER:
            raise self._bad("is below something that is not a directory", path)
        types[path] = kind

    def _check_link(self, path: bytes, target: bytes) -> None:
        kind = self._types.get(target)
        if target == path or kind in (None, _FOLDER, _LINK):
            raise self._bad(
                "is a hard link to a file that does not precede it", path
            )
        # A link to it is as good as the file itself.
        self._types[path] = kind

    def _check_privileges(
        self, path: bytes, mode: int, records: Mapping[bytes, bytes]
    ) -> None:
        if not mode & _SET_ID and _CAPABILITY not in records:
            return
        text = path.decode(errors="backslashreplace")
        if text not in self._declared and not is_declared(text):
            what = "set-id bits" if mode & _SET_ID else "capabilities"
            bad = self._bad(f"has {what} and is not a known program", path)
            bad.hint = f"to permit it, give --allow-privileged {text}"
            raise bad
        self.judged.privileged.append(text)


def _padded(size: int) -> int:
    return (size + _BLOCK - 1) // _BLOCK * _BLOCK
