"""The content of the partitions and logical volumes of a disk."""

from __future__ import annotations

import dataclasses
import struct
import uuid
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.baremetal.disks import lvm, partitions
from imageprep_client.baremetal.disks.disk import Disk, Extent
from imageprep_client.baremetal.disks.partitions import (
    Partition,
    PartitionTable,
)

READABLE = frozenset({"ext4", "xfs"})

# Superblocks are within this: that of btrfs is the last, at 64 KiB.
_PROBED = 68 * 1024
#: Kinds that are known by a magic at an offset. A swap area has it at the
#: end of its first page, whose size differs.
_MAGICS = (
    ("xfs", 0, b"XFSB"),
    ("btrfs", 65600, b"_BHRfS_M"),
    ("ext4", 1080, b"\x53\xef"),
    ("luks", 0, b"LUKS\xba\xbe"),
    ("raid", 0, b"\xfc\x4e\x2b\xa9"),
    ("raid", 4096, b"\xfc\x4e\x2b\xa9"),
    ("squashfs", 0, b"hsqs"),
    ("vfat", 82, b"FAT32   "),
    ("vfat", 54, b"FAT1"),
    ("swap", 4086, b"SWAPSPACE2"),
)
_EXT = 1024
_EXT_NEEDS_RECOVERY = 0x4
_EXT_64BIT = 0x80
_MAX_VOLUMES = 256


@dataclasses.dataclass(frozen=True, slots=True)
class Volume:
    """A partition or a logical volume.

    :ivar name: what messages and users call it: ``partition 2``, ``vg/lv``.
    :ivar kind: of its content: a file system, ``lvm``, ``swap``, ``raid``,
        ``luks``, or empty when unknown.
    :ivar extents: where it is on the disk; empty when it cannot be read.
    :ivar uuid: of its file system, as in ``/dev/disk/by-uuid``.
    :ivar size: bytes of its file system.
    :ivar unclean: its journal may have to be replayed.
    :ivar segments: of a logical volume, the types that are not linear.
    """

    name: str
    kind: str
    extents: tuple[Extent, ...]
    partition: Partition | None = None
    uuid: str = ""
    label: str = ""
    size: int = 0
    unclean: bool = False
    segments: tuple[str, ...] = ()


def find(disk: Disk, table: PartitionTable) -> list[Volume]:
    """All partitions, and the logical volumes in them.

    :raises InvalidFile: when what they hold cannot be trusted.
    """
    plain = [p for p in table.partitions if p.extent.size >= _EXT * 2]
    heads = _heads(disk, [(p.extent,) for p in plain])
    volumes = []
    for partition, head in zip(plain, heads, strict=True):
        volume = _probe(disk, str(partition), (partition.extent,), head)
        if partition.type == partitions.LINUX_RAID:
            volume = dataclasses.replace(volume, kind="raid")
        volumes.append(dataclasses.replace(volume, partition=partition))
    labelled = [v.extents[0] for v in volumes if v.kind == "lvm"]
    if not labelled:
        return volumes
    logical = lvm.volumes(disk, labelled)
    if len(logical) + len(volumes) > _MAX_VOLUMES:
        raise errors.InvalidFile(disk.path, f"has {len(logical)} volumes")
    linear = [lv for lv in logical if lv.extents]
    for lv, head in zip(
        linear, _heads(disk, [lv.extents for lv in linear]), strict=True
    ):
        volumes.append(_probe(disk, str(lv), lv.extents, head))
    volumes += [
        Volume(str(lv), "", (), segments=lv.segments)
        for lv in logical
        if not lv.extents
    ]
    return volumes


def _heads(disk: Disk, places: Sequence[tuple[Extent, ...]]) -> list[bytes]:
    """The beginnings of volumes, read together."""
    wanted = []
    for extents in places:
        # A logical volume's first extent is larger than what is read.
        first = extents[0]
        wanted.append(Extent(first.offset, min(first.size, _PROBED)))
    if not wanted:
        return []
    content = disk.read(wanted)
    heads = []
    for extent in wanted:
        heads.append(content[: extent.size])
        content = content[extent.size :]
    return heads


def _probe(
    disk: Disk, name: str, extents: tuple[Extent, ...], head: bytes
) -> Volume:
    kinds = {
        kind
        for kind, offset, magic in _MAGICS
        if head[offset : offset + len(magic)] == magic
    }
    label = range(0, min(len(head), lvm.LABEL_AREA), 512)
    if any(head[at : at + 8] == b"LABELONE" for at in label):
        kinds.add("lvm")
    if len(kinds) > 1:
        raise errors.InvalidFile(
            disk.path, f"is {' and '.join(sorted(kinds))} at once", key=name
        )
    kind = next(iter(kinds), "")
    volume = Volume(name, kind, extents)
    if kind == "ext4":
        volume = _ext(volume, head[_EXT : _EXT * 2])
    elif kind == "xfs":
        volume = _xfs(volume, head)
    whole = sum(extent.size for extent in extents)
    if volume.size > whole:
        raise errors.InvalidFile(
            disk.path,
            f"the {kind} file system has {volume.size} bytes, its place"
            f" {whole}",
            key=name,
        )
    return volume


def _ext(volume: Volume, block: bytes) -> Volume:
    (blocks,) = struct.unpack_from("<I", block, 4)
    (log_size,) = struct.unpack_from("<I", block, 24)
    (incompatible,) = struct.unpack_from("<I", block, 96)
    if incompatible & _EXT_64BIT:
        blocks |= struct.unpack_from("<I", block, 0x150)[0] << 32
    return dataclasses.replace(
        volume,
        uuid=str(uuid.UUID(bytes=block[104:120])),
        label=_text(block[120:136]),
        size=blocks << (10 + min(log_size, 6)),
        unclean=bool(incompatible & _EXT_NEEDS_RECOVERY),
    )


def _xfs(volume: Volume, block: bytes) -> Volume:
    block_size, blocks = struct.unpack_from(">IQ", block, 4)
    return dataclasses.replace(
        volume,
        uuid=str(uuid.UUID(bytes=block[32:48])),
        label=_text(block[108:120]),
        size=block_size * blocks,
    )


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
