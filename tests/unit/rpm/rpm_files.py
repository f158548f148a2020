"""Writes RPM files that hold no more than what is read of them."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
import struct
from collections.abc import Mapping, Sequence

INT32, STRING, BINARY, STRINGS, TRANSLATED = 4, 6, 7, 8, 9
Value = tuple[int, str | bytes | Sequence[str] | Sequence[int]]

LEAD = b"\xed\xab\xee\xdb\x03".ljust(96, b"\0")


def header(values: Mapping[int, Value]) -> bytes:
    """A header with these tags, each a type and its values."""
    index, store = b"", b""
    for tag, (kind, value) in values.items():
        if kind == INT32:
            store += b"\0" * (-len(store) % 4)
        offset, count = len(store), 1
        if isinstance(value, str):
            store += value.encode() + b"\0"
        elif isinstance(value, bytes):
            store += value
            count = len(value)
        else:
            count = len(value)
            store += b"".join(
                struct.pack("!I", one)
                if isinstance(one, int)
                else one.encode() + b"\0"
                for one in value
            )
        index += struct.pack("!IIII", tag, kind, offset, count)
    intro = struct.pack(
        "!4s4xII", b"\x8e\xad\xe8\x01", len(values), len(store)
    )
    return intro + index + store


@dataclasses.dataclass(frozen=True, kw_only=True)
class Package:
    """The tags and digests of an RPM file.

    :ivar more: further tags, over those that all packages have.
    :ivar digests: which digests it has: ``header``, ``payload``, ``all``.
    """

    name: str = "nova-api"
    version: str = "1.0"
    release: str = "1"
    epoch: int | None = None
    architecture: str = "noarch"
    source: bool = False
    provides: Sequence[str] = ()
    files: Sequence[str] = ()
    payload: bytes = b"payload" * 100
    more: Mapping[int, Value] = dataclasses.field(default_factory=dict)
    digests: Sequence[str] = ("header", "payload", "all")

    def render(self) -> bytes:
        """The content of the file."""
        tags: dict[int, Value] = {
            1000: (STRING, self.name),
            1001: (STRING, self.version),
            1002: (STRING, self.release),
            1022: (STRING, self.architecture),
            1047: (STRINGS, [self.name, *self.provides]),
        }
        if self.epoch is not None:
            tags[1003] = (INT32, [self.epoch])
        if not self.source:
            tags[1044] = (STRING, f"{self.name}.src.rpm")
        if self.files:
            paths = [pathlib.PurePosixPath(file) for file in self.files]
            tags[1116] = (INT32, list(range(len(paths))))
            tags[1117] = (STRINGS, [path.name for path in paths])
            tags[1118] = (STRINGS, [f"{path.parent}/" for path in paths])
        if "payload" in self.digests:
            digest = hashlib.sha256(self.payload).hexdigest()
            tags[5092] = (STRINGS, [digest])
            tags[5093] = (INT32, [8])
        main = header({**tags, **self.more})
        signed: dict[int, Value] = {}
        if "header" in self.digests:
            signed[269] = (STRING, hashlib.sha1(main).hexdigest())  # noqa: S324
            signed[273] = (STRING, hashlib.sha256(main).hexdigest())
        if "all" in self.digests:
            md5 = hashlib.md5(main + self.payload)  # noqa: S324
            signed[1004] = (BINARY, md5.digest())
        signatures = header(signed)
        padding = b"\0" * (-len(signatures) % 8)
        return LEAD + signatures + padding + main + self.payload

    def write(self, path: pathlib.Path) -> str:
        """Write the file; its name as text."""
        path.write_bytes(self.render())
        return str(path)
