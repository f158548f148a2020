"""Partition tables: GPT, with sectors of 512 and of 4096 bytes.

The layout is that of the UEFI specification, "GUID Partition Table Disk
Layout". Both tables must be whole and agree: firmware, the boot loader and
the kernel may each read another one.
"""

from __future__ import annotations

import dataclasses
import itertools
import struct
import uuid
import zlib

from imageprep_client import errors
from imageprep_client.baremetal.disks.disk import Disk, Extent

SECTOR_SIZES = (512, 4096)

EFI_SYSTEM = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
BIOS_BOOT = "21686148-6449-6e6f-744e-656564454649"
EXTENDED_BOOT = "bc13c2ff-59e6-4262-a352-b275fd6f7172"
LINUX_RAID = "a19d880f-05fc-4d3b-a006-743f0f84911e"
TYPES = {
    EFI_SYSTEM: "EFI system",
    BIOS_BOOT: "BIOS boot",
    EXTENDED_BOOT: "extended boot",
    LINUX_RAID: "Linux RAID",
    "9e1a2d38-c612-4316-aa26-8b49521e5a8b": "PReP boot",
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "Linux",
    "4f68bce3-e8cd-4db1-96e7-fbcaf984b709": "Linux root (x86_64)",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "Linux root (aarch64)",
    "e6d6d379-f507-44c2-a23c-238f2a3df928": "Linux LVM",
    "0657fd6d-a4ab-43c4-84e5-0933c84b4f4f": "Linux swap",
}

_MBR = struct.Struct("<446s16s16s16s16sH")
_MBR_MAGIC = 0xAA55
_PROTECTIVE = 0xEE
#: Signature, revision, header size, CRC, reserved, own and other LBA, first
#: and last usable LBA, disk GUID, table LBA, entries, entry size, table CRC.
_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_MAGIC = b"EFI PART"
_ENTRY = struct.Struct("<16s16sQQQ72s")
_MAX_ENTRIES = 1024
_MAX_ENTRY_SIZE = 4096
_UNUSED = uuid.UUID(int=0)


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    :ivar number: from 1 on; 0: the whole disk, which has no table.
    :ivar type: its type GUID, in lower case; empty without a table.
    """

    number: int
    type: str
    name: str
    extent: Extent

    @property
    def type_name(self) -> str:
        return TYPES.get(self.type, self.type)

    def __str__(self) -> str:
        return f"partition {self.number}" if self.number else "whole disk"


@dataclasses.dataclass(frozen=True, slots=True)
class PartitionTable:
    """The table of a disk.

    :ivar kind: ``gpt``, or ``none`` for a file system without partitions.
    """

    kind: str
    sector_size: int
    partitions: tuple[Partition, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class _Table:
    disk: uuid.UUID
    other: int
    first: int
    last: int
    entries: bytes
    entry_size: int


class MbrOnly(errors.InvalidFile):
    """The partition table is an MBR alone."""


def read(disk: Disk) -> PartitionTable:
    """The partition table of a disk.

    :raises InvalidFile: when there is only an MBR, or the GPT is damaged,
        cut short or ambiguous.
    """
    size = disk.size
    head = disk.read([Extent(0, min(size, 2 * SECTOR_SIZES[-1]))])
    sectors = [s for s in SECTOR_SIZES if head[s : s + 8] == _MAGIC]
    if len(sectors) > 1:
        raise _wrong(disk, "two tables, for sectors of 512 and 4096 bytes")
    mbr = _mbr(head)
    if not sectors:
        if mbr:
            raise MbrOnly(
                disk.path,
                "has an MBR partition table, which is not supported: the"
                f" types of its partitions are {', '.join(map(hex, mbr))}",
                hint="use an image with a GPT (UEFI or BIOS boot), or register"
                " this one as --whole-disk",
            )
        whole = Partition(0, "", "", Extent(0, size))
        return PartitionTable("none", SECTOR_SIZES[0], (whole,))
    if mbr != [_PROTECTIVE]:
        raise _wrong(disk, "the MBR before it does not protect it alone")
    (sector,) = sectors
    first = _table(disk, sector, 1, "primary")
    if 0 < first.other <= first.last:
        raise _wrong(disk, "its backup is not at the end of the disk")
    second = _table(disk, sector, first.other, "backup")
    if second.other != 1 or (
        *(first.disk, first.entries, first.first, first.last),
    ) != (second.disk, second.entries, second.first, second.last):
        raise _wrong(disk, "the primary and the backup table differ")
    partitions = tuple(_partitions(disk, first, sector))
    _check_overlaps(disk, partitions)
    return PartitionTable("gpt", sector, partitions)


def _mbr(head: bytes) -> list[int]:
    """The types of the partitions in an MBR; empty without one."""
    if len(head) < _MBR.size:
        return []
    _, *entries, magic = _MBR.unpack_from(head)
    # A FAT file system begins with the same magic, and has no table there.
    if magic != _MBR_MAGIC or any(entry[0] & 0x7F for entry in entries):
        return []
    return [entry[4] for entry in entries if entry[4]]


def _table(disk: Disk, sector: int, lba: int, which: str) -> _Table:
    """The header at `lba`, and the entries that it leads to."""
    last = disk.size // sector - 1
    if not 1 <= lba <= last:
        raise _wrong(
            disk,
            f"the {which} table is at sector {lba}, the disk ends at {last}:"
            " the image is cut short",
        )
    raw = disk.read([Extent(lba * sector, sector)])
    fields = _HEADER.unpack_from(raw)
    magic, revision, header_size, crc, _, own, other, first, end = fields[:9]
    guid, table, count, entry_size, table_crc = fields[9:]
    if magic != _MAGIC or revision != 0x10000:
        raise _wrong(disk, f"there is no {which} table at sector {lba}")
    if not _HEADER.size <= header_size <= sector or own != lba:
        raise _wrong(disk, f"the {which} header is damaged")
    blank = raw[:16] + bytes(4) + raw[20:header_size]
    if zlib.crc32(blank) != crc:
        raise _wrong(disk, f"the checksum of the {which} header is wrong")
    if (
        not 0 < count <= _MAX_ENTRIES
        or not _ENTRY.size <= entry_size <= _MAX_ENTRY_SIZE
        or entry_size % _ENTRY.size
    ):
        raise _wrong(disk, f"{count} entries of {entry_size} bytes")
    extent = Extent(table * sector, count * entry_size)
    if not 2 <= table <= last or extent.end > (last + 1) * sector:
        raise _wrong(disk, f"the {which} entries are outside the disk")
    entries = disk.read([extent])
    if zlib.crc32(entries) != table_crc:
        raise _wrong(disk, f"the checksum of the {which} entries is wrong")
    if not 2 <= first <= end <= last:
        raise _wrong(disk, f"sectors {first} to {end} are usable")
    return _Table(
        uuid.UUID(bytes_le=guid), other, first, end, entries, entry_size
    )


def _partitions(disk: Disk, table: _Table, sector: int) -> list[Partition]:
    partitions = []
    for start in range(0, len(table.entries), table.entry_size):
        kind, _, first, last, _, name = _ENTRY.unpack_from(
            table.entries, start
        )
        if uuid.UUID(bytes_le=kind) == _UNUSED:
            continue
        number = start // table.entry_size + 1
        if not table.first <= first <= last <= table.last:
            raise _wrong(
                disk, f"partition {number} is outside the usable sectors"
            )
        partitions.append(
            Partition(
                number,
                str(uuid.UUID(bytes_le=kind)),
                name.decode("utf-16-le", "replace").partition("\0")[0],
                Extent(first * sector, (last - first + 1) * sector),
            )
        )
    return partitions


def _check_overlaps(disk: Disk, partitions: tuple[Partition, ...]) -> None:
    ordered = sorted(partitions, key=lambda p: p.extent.offset)
    for one, other in itertools.pairwise(ordered):
        if one.extent.end > other.extent.offset:
            raise _wrong(disk, f"{one} and {other} overlap")


def _wrong(disk: Disk, problem: str) -> errors.InvalidFile:
    return errors.InvalidFile(
        disk.path, f"the GPT cannot be trusted: {problem}"
    )
