"""Read one RPM file, and verify that it is complete.

The format is that of version 4 packages in the manual of rpm: a lead, a
header of signatures, the main header and the payload. A header is a list of
tags, each with the type and the offset of its values in the store that
follows.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import struct
from collections.abc import Iterator
from typing import Any, BinaryIO, Self

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.rpm.evr import Evr

_LEAD, _LEAD_MAGIC = 96, b"\xed\xab\xee\xdb"
_INTRO, _INTRO_MAGIC = struct.Struct("!4s4xII"), b"\x8e\xad\xe8\x01"
_ENTRY = struct.Struct("!IIII")
# The limits of rpm itself.
_MAX_TAGS, _MAX_STORE = 0xFFFF, 0x0FFFFFFF
# No package has a larger header, although rpm accepts it.
_MAX_HEADERS = 64 << 20
# No tag of a package has more values; files are the most.
_MAX_VALUES = 1 << 20
#: Bytes of memory for all names that packages provide. The paths of a package
#: share directories in its header, so they can be many times larger than it.
MAX_NAMES = 256 << 20
# Memory that a string takes beside its characters.
_TEXT = 64
_CHUNK = 1 << 20

_INT32, _STRINGS = 4, (6, 8, 9)

_NAME, _VERSION, _RELEASE, _EPOCH = 1000, 1001, 1002, 1003
_ARCHITECTURE, _SOURCE_RPM, _PROVIDES = 1022, 1044, 1047
_DIRECTORY_INDEXES, _BASE_NAMES, _DIRECTORY_NAMES = 1116, 1117, 1118
_PAYLOAD_DIGEST, _PAYLOAD_DIGEST_TYPE = 5092, 5093
# In the header of signatures.
_HEADER_SHA1, _HEADER_SHA256, _MD5 = 269, 273, 1004
# The numbers are those of OpenPGP.
_DIGESTS = {1: "md5", 2: "sha1", 8: "sha256", 9: "sha384", 10: "sha512"}

# Values that are used in commands must not be options or patterns there.
_GRAMMAR = {
    _NAME: ("name", re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+~^-]*")),
    _VERSION: ("version", re.compile(r"[A-Za-z0-9._+~^]+")),
    _RELEASE: ("release", re.compile(r"[A-Za-z0-9._+~^]+")),
    _ARCHITECTURE: ("architecture", re.compile(r"[A-Za-z0-9_]+")),
}
_AGAIN = "get the file again from its source"


@dataclasses.dataclass(frozen=True, slots=True)
class RpmFile:
    """A binary package in a file.

    :ivar path: the file, below the directory as the user named it.
    :ivar provides: the names that it provides, and its files.
    """

    path: str
    name: str
    evr: Evr
    architecture: str
    provides: frozenset[str] = dataclasses.field(repr=False)

    @property
    def names_size(self) -> int:
        """The approximate memory in bytes that `provides` takes."""
        return sum(map(len, self.provides)) + _TEXT * len(self.provides)

    @property
    def file_name(self) -> str:
        """The name of the file in a repository."""
        evr = f"{self.evr.version}-{self.evr.release}"
        return f"{self.name}-{evr}.{self.architecture}.rpm"

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.architecture}"


def read(path: str) -> RpmFile:
    """Read a whole RPM file, and verify its own digests.

    Signatures are not verified, because that needs the keys that the image
    trusts. The rpm of the image verifies them.

    :raises InvalidFile: when it cannot be read, is no RPM file or a source
        package, or is damaged.
    """
    try:
        with inputs.open_regular(path) as file:
            return _read(path, _Source(file))
    except OSError as error:
        raise errors.InvalidFile(
            path, f"cannot be read: {errors.reason(error)}"
        ) from error
    except _Damaged as error:
        raise errors.InvalidFile(path, str(error), hint=_AGAIN) from error


class _Damaged(Exception):
    """The content of the file is invalid."""


class _Source:
    """A file that is never read beyond its end."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = os.fstat(file.fileno()).st_size

    def starts_with(self, magic: bytes) -> bool:
        self._left -= len(magic)
        return self._file.read(len(magic)) == magic

    def take(self, count: int) -> bytes:
        taken = self._file.read(count) if count <= self._left else b""
        if len(taken) < count:
            raise _Damaged("is cut off: its header is not whole")
        self._left -= count
        return taken

    def rest(self) -> Iterator[bytes]:
        while chunk := self._file.read(_CHUNK):
            yield chunk


@dataclasses.dataclass(frozen=True, slots=True)
class _Header:
    """Tags with values.

    :ivar raw: the bytes that the digests cover.
    """

    raw: bytes
    entries: dict[int, tuple[int, int, int]]
    store: bytes

    @classmethod
    def take(cls, source: _Source) -> Self:
        intro = source.take(_INTRO.size)
        magic, tags, size = _INTRO.unpack(intro)
        if magic != _INTRO_MAGIC:
            raise _Damaged("is damaged: a header has no magic number")
        if tags > _MAX_TAGS or size > _MAX_STORE:
            raise _Damaged("is damaged: a header is larger than rpm allows")
        if size > _MAX_HEADERS:
            raise _Damaged(f"has a header of {size} bytes")
        index = source.take(tags * _ENTRY.size)
        store = source.take(size)
        entries = {
            tag: (kind, offset, count)
            for tag, kind, offset, count in _ENTRY.iter_unpack(index)
        }
        return cls(intro + index + store, entries, store)

    def strings(self, tag: int) -> list[str]:
        """The values of a tag; empty if there is no such tag."""
        if tag not in self.entries:
            return []
        kind, offset, count = self._entry(tag)
        texts = []
        for _ in range(count):
            end = self.store.find(b"\0", offset)
            if kind not in _STRINGS or end < 0:
                raise _Damaged(f"is damaged: tag {tag} has no text")
            texts.append(self.store[offset:end].decode(errors="replace"))
            offset = end + 1
        return texts

    def _entry(self, tag: int) -> tuple[int, int, int]:
        kind, offset, count = self.entries[tag]
        if count > _MAX_VALUES:
            raise _Damaged(f"has {count} values of tag {tag}")
        return kind, offset, count

    def string(self, tag: int) -> str:
        """The first value of a tag; empty if there is no such tag."""
        return next(iter(self.strings(tag)), "")

    def integers(self, tag: int) -> tuple[int, ...]:
        """The values of a tag; empty if there is no such tag."""
        if tag not in self.entries:
            return ()
        kind, offset, count = self._entry(tag)
        if kind != _INT32 or offset + 4 * count > len(self.store):
            raise _Damaged(f"is damaged: tag {tag} has no numbers")
        return struct.unpack_from(f"!{count}I", self.store, offset)

    def binary(self, tag: int) -> bytes:
        """The bytes of a tag; empty if there is no such tag."""
        _, offset, count = self.entries.get(tag, (0, 0, 0))
        return self.store[offset : offset + count]


def _read(path: str, source: _Source) -> RpmFile:
    if not source.starts_with(_LEAD_MAGIC):
        raise _Damaged("is no RPM file")
    source.take(_LEAD - len(_LEAD_MAGIC))
    signatures = _Header.take(source)
    source.take(-len(signatures.store) % 8)
    header = _Header.take(source)
    _check_digests(signatures, header, source)
    if not header.string(_SOURCE_RPM):
        raise errors.InvalidFile(
            path,
            "is a source package",
            hint="take the packages that are built from it",
        )
    version, release = _word(header, _VERSION), _word(header, _RELEASE)
    epoch = (*header.integers(_EPOCH), 0)[0]
    return RpmFile(
        path=path,
        name=_word(header, _NAME),
        evr=Evr(epoch, version, release),
        architecture=_word(header, _ARCHITECTURE),
        provides=_provides(header),
    )


def _check_digests(
    signatures: _Header, header: _Header, source: _Source
) -> None:
    """Read the payload; every part must be covered by a correct digest."""
    md5 = hashlib.md5(header.raw, usedforsecurity=False)
    payload = _payload_digest(header)
    for chunk in source.rest():
        md5.update(chunk)
        if payload:
            payload.update(chunk)

    of_header = {
        "sha256": signatures.string(_HEADER_SHA256),
        "sha1": signatures.string(_HEADER_SHA1),
    }
    for kind, expected in of_header.items():
        actual = hashlib.new(kind, header.raw, usedforsecurity=False)
        if expected and actual.hexdigest() != expected:
            raise _Damaged("is damaged: its header has another digest")
    of_all = signatures.binary(_MD5)
    of_payload = header.string(_PAYLOAD_DIGEST) if payload else ""
    if of_payload and payload and payload.hexdigest() != of_payload:
        raise _Damaged("is damaged or cut off: its payload has another digest")
    if of_all and md5.digest() != of_all:
        raise _Damaged("is damaged or cut off: it has another digest")
    if not of_all and not (of_payload and any(of_header.values())):
        raise _Damaged("has no digest that it could be checked by")


def _payload_digest(header: _Header) -> Any:
    """A hash of the type of the payload digest in the header, or None."""
    kinds = header.integers(_PAYLOAD_DIGEST_TYPE)
    if not kinds or kinds[0] not in _DIGESTS:
        return None
    return hashlib.new(_DIGESTS[kinds[0]], usedforsecurity=False)


def _word(header: _Header, tag: int) -> str:
    what, pattern = _GRAMMAR[tag]
    value = header.string(tag)
    if not pattern.fullmatch(value):
        raise _Damaged(f"is damaged: {value[:100]!r} is no {what}")
    return value


def _provides(header: _Header) -> frozenset[str]:
    """The names that a package provides, and its files."""
    directories = header.strings(_DIRECTORY_NAMES)
    names = header.strings(_BASE_NAMES)
    indexes = header.integers(_DIRECTORY_INDEXES)
    if len(names) != len(indexes) or any(
        index >= len(directories) for index in indexes
    ):
        raise _Damaged("is damaged: a file of it has no directory")
    size = sum(map(len, names)) + sum(len(directories[i]) for i in indexes)
    if size + _TEXT * len(names) > MAX_NAMES:
        raise _Damaged(f"has files with paths of {size} bytes in all")
    files = (
        directories[index] + name
        for index, name in zip(indexes, names, strict=True)
    )
    return frozenset([*header.strings(_PROVIDES), *files])
