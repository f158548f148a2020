"""Partition tables, right ones and those that cannot be trusted."""

from __future__ import annotations

from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.baremetal.disks import partitions
from tests.disk_bytes import MemoryDisk, gpt

MIB = 1024**2


@pytest.mark.parametrize("sector", [512, 4096])
def test_sector_sizes(sector: int) -> None:
    """Offsets and sizes are in bytes, whatever the sectors are."""
    unit = MIB // sector
    disk = gpt(
        8 * MIB,
        [(unit, 2 * unit - 1), (3 * unit, 4 * unit - 1)],
        sector=sector,
    )
    table = partitions.read(MemoryDisk(bytes(disk)))
    assert (table.kind, table.sector_size) == ("gpt", sector)
    assert [(p.number, *p.extent) for p in table.partitions] == [
        (1, MIB, MIB),
        (2, 3 * MIB, MIB),
    ]
    assert table.partitions[1].name == "part1"
    assert table.partitions[0].type_name == "Linux"


def test_no_table() -> None:
    """A disk without a table is one volume."""
    table = partitions.read(MemoryDisk(bytes(MIB)))
    assert table.kind == "none"
    assert [tuple(p.extent) for p in table.partitions] == [(0, MIB)]


def test_mbr_alone() -> None:
    """An MBR alone is refused by name, with the types in it."""
    disk = gpt(8 * MIB, [(2048, 4095)])
    disk[512:520] = bytes(8)
    disk[446:462] = bytes([0x80, 0, 2, 0, 0x83]) + bytes(11)
    with pytest.raises(partitions.MbrOnly, match=r"MBR partition table.*0x83"):
        partitions.read(MemoryDisk(bytes(disk)))


_ENTRY = bytes([0, 0, 2, 0, 0xEE]) + bytes(11)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"primary": {"other": 10**12}}, "cut short"),
        ({"primary": {"other": 0}}, "cut short"),
        ({"primary": {"other": 1}}, "not at the end"),
        ({"primary": {"crc": 1}}, "checksum of the primary header"),
        ({"backup": {"crc": 1}}, "checksum of the backup header"),
        ({"primary": {"table_crc": 1}}, "checksum of the primary entries"),
        ({"primary": {"own": 7}}, "damaged"),
        ({"primary": {"header_size": 4096}}, "damaged"),
        ({"primary": {"header_size": 8}}, "damaged"),
        ({"primary": {"revision": 9}}, "no primary table"),
        ({"primary": {"count": 2**32 - 1}}, "4294967295 entries"),
        ({"primary": {"entry_size": 2**31}}, "entries of 2147483648"),
        ({"primary": {"entry_size": 0}}, "entries of 0"),
        ({"primary": {"table": 2**60}}, "outside the disk"),
        ({"primary": {"first": 9, "last": 2}}, "usable"),
        ({"primary": {"last": 2**50}}, "usable"),
        ({"backup": {"guid": 9}}, "differ"),
        ({"backup": {"other": 5}}, "differ"),
        ({"mbr": (_ENTRY + _ENTRY).ljust(64, b"\0")}, "protect"),
        ({"mbr": bytes(64)}, "protect"),
    ],
)
def test_tables_that_lie(changes: dict[str, Any], told: str) -> None:
    """A damaged, ambiguous or boundless table is refused in one line."""
    disk = gpt(8 * MIB, [(2048, 4095)], **changes)
    with pytest.raises(errors.InvalidFile, match=told):
        partitions.read(MemoryDisk(bytes(disk)))


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([(2048, 4095), (4000, 5000)], "partition 1 and partition 2 overlap"),
        ([(2048, 2**40)], "outside"),
        ([(4095, 2048)], "outside"),
        ([(1, 4095)], "outside"),
    ],
)
def test_partitions_that_lie(places: list[tuple[int, int]], told: str) -> None:
    """Partitions are in the usable sectors, and do not overlap."""
    disk = gpt(8 * MIB, places)
    with pytest.raises(errors.InvalidFile, match=told):
        partitions.read(MemoryDisk(bytes(disk)))


def test_both_sector_sizes() -> None:
    """Two tables are ambiguous."""
    disk = gpt(8 * MIB, [(2048, 4095)])
    disk[4096:4104] = b"EFI PART"
    with pytest.raises(errors.InvalidFile, match="two tables"):
        partitions.read(MemoryDisk(bytes(disk)))
