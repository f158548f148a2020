"""LVM metadata, right and hostile."""

from __future__ import annotations

from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.baremetal.disks import lvm
from imageprep_client.baremetal.disks.disk import Extent
from tests.disk_bytes import GROUP, MemoryDisk, physical_volume

MIB = 1024**2
SIZE = 4 * MIB


def volumes(content: bytearray) -> list[lvm.LogicalVolume]:
    disk = MemoryDisk(bytes(MIB) + bytes(content))
    return lvm.volumes(disk, [Extent(MIB, len(content))])


@pytest.mark.parametrize("ring", [0, 40 * 1024, 64 * 1024 - 300])
def test_volumes(ring: int) -> None:
    """Volumes are where the metadata says, also when it wraps around."""
    root, other = volumes(physical_volume(SIZE, ring=ring))
    assert str(root) == "vg/root"
    assert root.segments == ("linear",)
    assert root.extents == (
        Extent(2 * MIB + 2 * 4096, 4 * 4096),
        Extent(2 * MIB + 10 * 4096, 2 * 4096),
    )
    assert (str(other), other.segments, other.extents) == (
        "vg/other",
        ("thin",),
        (),
    )


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"label": {"crc": 1}}, "checksum of a label"),
        ({"label": {"sector": 3}}, "damaged"),
        ({"label": {"offset": 2**31}}, "damaged"),
        ({"label": {"size": 2**60}}, "larger than its partition"),
        ({"area": {"crc": 1}}, "checksum of a metadata area"),
        ({"area": {"version": 2}}, "damaged"),
        ({"area": {"start": 0}}, "damaged"),
        ({"area": {"length": 2**40}}, "metadata of 1099511627776 bytes"),
        ({"area": {"at": 100}}, "at 100"),
        ({"area": {"text_crc": 5}}, "checksum of the metadata"),
        ({"text": "vg {"}, "ends early"),
        ({"text": "a { b { c { d { e { f { g { h { i {"}, "too deeply"),
        ({"text": "vg { a = [ 1, 2"}, "does not end"),
        ({"text": "vg { a = } }"}, "not understood"),
        ({"text": "vg { a = 1 a = 2 }"}, "not understood"),
        ({"text": "vg { ! }"}, "not understood"),
        ({"text": "v { }\nw { }"}, "2 volume groups"),
        ({"text": "v { }"}, "extent_size"),
        (
            {"text": GROUP.replace("extent_size = 8", "extent_size = 0")},
            "no size",
        ),
        ({"text": GROUP.replace('"pv0", 2', '"pv0", 999999')}, "leave"),
        ({"text": GROUP.replace('"pv0", 2', '"pv0", -5')}, "extent -5"),
        ({"text": GROUP.replace('"pv0", 10', '"pv0", 3')}, "overlap"),
        ({"text": GROUP.replace('"pv0", 10', '"pv1", 3')}, "another disk"),
        (
            {"text": GROUP.replace("start_extent = 4", "start_extent = 5")},
            "gap",
        ),
        ({"text": GROUP.replace("count = 2", "count = 99999")}, "segments"),
        ({"text": GROUP.replace("root {", "../root {")}, "not understood"),
        (
            {"text": GROUP.replace("pe_start = 2048", f"pe_start = {2**70}")},
            "leave",
        ),
    ],
)
def test_metadata_that_lies(changes: dict[str, Any], told: str) -> None:
    """Damaged, boundless or outside metadata is refused in one line."""
    with pytest.raises(errors.InvalidFile, match=told):
        volumes(physical_volume(SIZE, **changes))


def test_two_physical_volumes_of_one_name() -> None:
    """A copy of a physical volume beside it is ambiguous."""
    content = bytes(physical_volume(SIZE))
    disk = MemoryDisk(content + content)
    with pytest.raises(errors.InvalidFile, match="one UUID"):
        lvm.volumes(disk, [Extent(0, SIZE), Extent(SIZE, SIZE)])


def test_two_versions_of_a_group() -> None:
    """Physical volumes that disagree are not read."""
    one = bytes(physical_volume(SIZE))
    other = bytes(
        physical_volume(
            SIZE, GROUP.replace("seqno = 3", "seqno = 4"), identity="f" * 32
        )
    )
    disk = MemoryDisk(one + other)
    with pytest.raises(errors.InvalidFile, match="two versions"):
        lvm.volumes(disk, [Extent(0, SIZE), Extent(SIZE, SIZE)])
