"""Disks made byte by byte, right ones and those that a hostile one has."""

from __future__ import annotations

import dataclasses
import struct
import uuid
import zlib
from collections.abc import Sequence
from typing import Any

LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
_ENTRIES = 128
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")


@dataclasses.dataclass
class MemoryDisk:
    """A `baremetal.disks.disk.Disk` whose bytes are here."""

    content: bytes
    path: str = "disk.raw"

    @property
    def size(self) -> int:
        return len(self.content)

    def read(self, extents: Sequence[tuple[int, int]]) -> bytes:
        return b"".join(
            self.content[offset : offset + size] for offset, size in extents
        )

    def save(
        self, extents: Sequence[tuple[int, int]], destination: Any
    ) -> None:
        destination.write_bytes(self.read(extents))

    def check(self) -> None:
        pass


def gpt(
    size: int,
    partitions: Sequence[tuple[int, int]],
    *,
    sector: int = 512,
    kind: str = LINUX,
    primary: dict[str, int] | None = None,
    backup: dict[str, int] | None = None,
    mbr: bytes | None = None,
) -> bytearray:
    """A disk with a GPT, the partitions from sector to sector.

    :param primary: fields of the header to have other values; the checksums
        are made right, unless they are among them.
    :param backup: the same of the other header.
    :param mbr: the four entries of the MBR.
    """
    disk = bytearray(size)
    last = size // sector - 1
    length = _ENTRIES * 128 // sector
    entries = bytearray(_ENTRIES * 128)
    for number, (first, end) in enumerate(partitions):
        struct.pack_into(
            "<16s16sQQQ72s",
            entries,
            number * 128,
            uuid.UUID(kind).bytes_le,
            uuid.UUID(int=number + 1).bytes_le,
            first,
            end,
            0,
            f"part{number}".encode("utf-16-le"),
        )
    protective = struct.pack(
        "<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, last
    )
    disk[446:510] = mbr if mbr is not None else protective.ljust(64, b"\0")
    disk[510:512] = b"\x55\xaa"
    places = {1: (2, last, primary), last: (last - length, 1, backup)}
    for own, (table, other, changes) in places.items():
        fields = {
            "revision": 0x10000,
            "header_size": 92,
            "own": own,
            "other": other,
            "first": 2 + length,
            "last": last - length - 1,
            "guid": 7,
            "table": table,
            "count": _ENTRIES,
            "entry_size": 128,
            "table_crc": zlib.crc32(entries),
            **(changes or {}),
        }
        header = _header(fields, 0)
        crc = fields.get("crc", zlib.crc32(header))
        disk[own * sector : own * sector + 92] = _header(fields, crc)
        disk[table * sector : table * sector + len(entries)] = entries
    return disk


def _header(fields: dict[str, int], crc: int) -> bytes:
    return _HEADER.pack(
        b"EFI PART",
        *(fields["revision"], fields["header_size"], crc, 0),
        *(fields["own"], fields["other"], fields["first"], fields["last"]),
        uuid.UUID(int=fields["guid"]).bytes_le,
        *(fields["table"], fields["count"], fields["entry_size"]),
        fields["table_crc"],
    )


_PV_ID = "abcdef0123456789abcdef0123456789"

#: A volume group with two volumes; the first is in two pieces.
GROUP = """\
# made by hand
vg {
id = "x"
seqno = 3
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 8
physical_volumes {
pv0 {
id = "PVID"
pe_start = 2048
pe_count = 100
}
}
logical_volumes {
root {
status = ["READ", "VISIBLE"]
segment_count = 2
segment1 {
start_extent = 0
extent_count = 4
type = "striped"
stripe_count = 1
stripes = [
"pv0", 2
]
}
segment2 {
start_extent = 4
extent_count = 2
type = "striped"
stripe_count = 1
stripes = ["pv0", 10]
}
}
hidden {
status = ["READ"]
segment_count = 1
}
other {
status = ["READ", "VISIBLE"]
segment_count = 1
segment1 {
start_extent = 0
extent_count = 1
type = "thin"
}
}
}
}
# trailing = "comment"
"""


def physical_volume(
    size: int,
    text: str = GROUP,
    *,
    identity: str = _PV_ID,
    ring: int = 0,
    label: dict[str, int] | None = None,
    area: dict[str, int] | None = None,
) -> bytearray:
    """A partition with LVM metadata.

    :param ring: where in the metadata area the text begins; 0: behind the
        header. At the end of the area it goes on at its beginning.
    :param label: fields of the label to have other values.
    :param area: the same of the metadata area's header.
    """
    volume = bytearray(size)
    mda_offset, mda_size = 4096, 64 * 1024
    content = text.replace("PVID", identity).encode() + b"\0"
    at = ring or 512
    body = content[: mda_size - at]
    volume[mda_offset + at : mda_offset + at + len(body)] = body
    rest = content[len(body) :]
    volume[mda_offset + 512 : mda_offset + 512 + len(rest)] = (
        rest or volume[mda_offset + 512 : mda_offset + 512]
    )
    fields = {
        "version": 1,
        "start": mda_offset,
        "size": mda_size,
        "at": at,
        "length": len(content),
        "text_crc": lvm_crc(content),
        **(area or {}),
    }
    header = struct.pack(
        "<16sIQQQQII",
        b" LVM2 x[5A%r0N*>",
        *(fields["version"], fields["start"], fields["size"]),
        *(fields["at"], fields["length"], fields["text_crc"], 0),
    ).ljust(508, b"\0")
    crc = fields.get("crc", lvm_crc(header))
    volume[mda_offset : mda_offset + 512] = struct.pack("<I", crc) + header
    own = {"sector": 1, "offset": 32, "size": size, **(label or {})}
    described = struct.pack(
        "<I8s32sQQQQQQQQQ",
        *(own["offset"], b"LVM2 001", identity.encode(), own["size"]),
        *(1024 * 1024, 0, 0, 0, mda_offset, mda_size, 0, 0),
    ).ljust(492, b"\0")
    crc = own.get("crc", lvm_crc(described))
    volume[512:1024] = (
        struct.pack("<8sQI", b"LABELONE", own["sector"], crc) + described
    )
    return volume


def lvm_crc(data: bytes) -> int:
    """LVM's checksum, bit by bit."""
    crc = 0xF597A6CF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0xEDB88320 if crc & 1 else 0)
    return crc


def qcow2(
    size: int = 1024 * 1024, *, length: int = 5 * 65536, **changes: int
) -> bytes:
    """An empty qcow2 image.

    :param length: bytes of the file.
    :param changes: fields of the header to have other values.
    """
    fields = {
        "version": 3,
        "backing": 0,
        "backing_size": 0,
        "bits": 16,
        "size": size,
        "encryption": 0,
        "l1_entries": 1,
        "l1": 3 * 65536,
        "refcounts": 65536,
        "refcount_clusters": 1,
        "snapshots": 0,
        "snapshot_table": 0,
        "incompatible": 0,
        "compatible": 0,
        "autoclear": 0,
        "order": 4,
        "header": 104,
        **changes,
    }
    file = bytearray(max(length, 4 * 65536 + 8))
    struct.pack_into(
        ">4sIQIIQIIQQIIQQQQII", file, 0, b"QFI\xfb", *fields.values()
    )
    struct.pack_into(">Q", file, 65536, 2 * 65536)
    struct.pack_into(">4H", file, 2 * 65536, 1, 1, 1, 1)
    return bytes(file[:length])
