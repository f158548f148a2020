"""LVM2 metadata, read without device-mapper and without activating it.

The layout is that of LVM2's ``lib/format_text/layout.h`` and ``lib/label``;
the text is the format of ``/etc/lvm/backup``. The metadata area is a ring
that also has older versions: only the one that its header points to counts.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.baremetal.disks.disk import Disk, Extent

_SECTOR = 512
#: A label is in one of the first four sectors.
LABEL_AREA = 4 * _SECTOR
#: Magic, sector, CRC, offset of what follows, type.
_LABEL = struct.Struct("<8sQII8s")
_LABEL_MAGIC = b"LABELONE"
_LABEL_TYPE = b"LVM2 001"
_PV = struct.Struct("<32sQ")
_AREA = struct.Struct("<QQ")
_MAX_AREAS = 4
#: CRC, magic, version, start, size.
_MDA = struct.Struct("<I16sIQQ")
_MDA_MAGIC = b" LVM2 x[5A%r0N*>"
#: Offset, size, CRC, flags.
_TEXT = struct.Struct("<QQII")
_MAX_TEXT = 1024 * 1024
_CRC_START = 0xF597A6CF
_MAX_DEPTH = 8
_MAX_SEGMENTS = 4096
_TOKEN = re.compile(
    r'\s+|\#[^\n]*|(?P<string>"(?:[^"\\]|\\.)*")|(?P<number>-?\d+)'
    r"|(?P<name>[A-Za-z_][\w.+-]*)|(?P<mark>[{}\[\]=,])"
)
_NAME = re.compile(r"[A-Za-z0-9_.+][A-Za-z0-9_.+-]{0,126}")

#: A section of the text: sections, and values that are int, str or lists.
Section = Mapping[str, object]


@dataclasses.dataclass(frozen=True, slots=True)
class LogicalVolume:
    """One logical volume.

    :ivar segments: the types of its segments, each once.
    :ivar extents: where it is on the disk; empty when `segments` has other
        types than ``linear``.
    """

    group: str
    name: str
    segments: tuple[str, ...]
    extents: tuple[Extent, ...]

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


@dataclasses.dataclass(frozen=True, slots=True)
class _PhysicalVolume:
    """A partition that has a label.

    :ivar extent: the partition.
    :ivar text: the metadata in it; empty when it has no area for it.
    """

    uuid: str
    extent: Extent
    text: str


def volumes(disk: Disk, extents: Sequence[Extent]) -> list[LogicalVolume]:
    """The logical volumes in these partitions, visible ones only.

    :raises InvalidFile: when the metadata cannot be trusted.
    """
    physical = [_physical_volume(disk, extent) for extent in extents]
    by_uuid = {pv.uuid: pv for pv in physical}
    if len(by_uuid) != len(physical):
        raise _wrong(disk, "two physical volumes have one UUID")
    groups: dict[str, str] = {}
    for text in (pv.text for pv in physical if pv.text):
        root = _parse(disk, text)
        names = [k for k, v in root.items() if isinstance(v, Mapping)]
        if len(names) != 1:
            raise _wrong(disk, f"{len(names)} volume groups in one area")
        (name,) = names
        if groups.setdefault(name, text) != text:
            raise _wrong(disk, f"two versions of the volume group {name!r}")
    volumes: list[LogicalVolume] = []
    for name, text in groups.items():
        group = _section(disk, _parse(disk, text), name)
        volumes += _Group(disk, name, group, by_uuid).volumes()
    return volumes


def _physical_volume(disk: Disk, extent: Extent) -> _PhysicalVolume:
    area = disk.read([_within(disk, extent, 0, LABEL_AREA)])
    for start in range(0, LABEL_AREA, _SECTOR):
        magic, sector, crc, offset, kind = _LABEL.unpack_from(area, start)
        if magic == _LABEL_MAGIC and kind == _LABEL_TYPE:
            break
    else:
        raise _wrong(disk, "a partition has no label of a physical volume")
    label = area[start : start + _SECTOR]
    if sector * _SECTOR != start or not _LABEL.size <= offset < _SECTOR - 40:
        raise _wrong(disk, "the label of a physical volume is damaged")
    if _crc(label[20:]) != crc:
        raise _wrong(disk, "the checksum of a label is wrong")
    identity, size = _PV.unpack_from(label, offset)
    if size > extent.size:
        raise _wrong(disk, "a physical volume is larger than its partition")
    text = ""
    for start, length in _metadata_areas(disk, label, offset + _PV.size):
        text = text or _text(disk, extent, start, length)
    return _PhysicalVolume(identity.decode("ascii", "replace"), extent, text)


def _metadata_areas(
    disk: Disk, label: bytes, offset: int
) -> list[tuple[int, int]]:
    """Offsets and sizes, from the second of two lists that a zero ends."""
    areas: list[tuple[int, int]] = []
    ended = 0
    while ended < 2:
        if offset + _AREA.size > len(label) or len(areas) > _MAX_AREAS:
            raise _wrong(disk, "the label of a physical volume has no end")
        area = _AREA.unpack_from(label, offset)
        offset += _AREA.size
        if not area[0]:
            ended += 1
        elif ended:
            areas.append(area)
    return areas


def _text(disk: Disk, extent: Extent, offset: int, size: int) -> str:
    """The metadata that the header of this area points to."""
    if size < 2 * _SECTOR:
        raise _wrong(disk, f"a metadata area of {size} bytes")
    # The rest of the area has to be in the partition, too.
    _within(disk, extent, offset, size)
    header = disk.read([_within(disk, extent, offset, _SECTOR)])
    crc, magic, version, start, whole = _MDA.unpack_from(header)
    if magic != _MDA_MAGIC or version != 1 or (start, whole) != (offset, size):
        raise _wrong(disk, "the header of a metadata area is damaged")
    if _crc(header[4:]) != crc:
        raise _wrong(disk, "the checksum of a metadata area is wrong")
    at, length, text_crc, _ = _TEXT.unpack_from(header, _MDA.size)
    if not at:
        return ""
    if not (_SECTOR <= at < size and 0 < length <= min(_MAX_TEXT, size)):
        raise _wrong(disk, f"metadata of {length} bytes at {at}")
    pieces = [_within(disk, extent, offset + at, min(length, size - at))]
    if at + length > size:  # a ring: it goes on behind the header
        rest = at + length - size
        pieces.append(_within(disk, extent, offset + _SECTOR, rest))
    raw = disk.read(pieces)
    if _crc(raw) != text_crc:
        raise _wrong(disk, "the checksum of the metadata is wrong")
    return raw.rstrip(b"\0").decode("utf-8", "replace")


class _Group:
    """A volume group, whose extents are on physical volumes of the disk."""

    def __init__(
        self,
        disk: Disk,
        name: str,
        section: Section,
        physical: Mapping[str, _PhysicalVolume],
    ) -> None:
        self._disk = disk
        self._name = name
        self._section = section
        self._extent_size = _number(disk, section, "extent_size") * _SECTOR
        if not self._extent_size:
            raise _wrong(disk, f"extents of no size in {name}")
        self._starts: dict[str, tuple[Extent, int]] = {}
        listed = _section(disk, section, "physical_volumes")
        for key in listed:
            pv = _section(disk, listed, key)
            identity = str(pv.get("id", "")).replace("-", "")
            if identity in physical:
                start = _number(disk, pv, "pe_start") * _SECTOR
                self._starts[key] = (physical[identity].extent, start)

    def volumes(self) -> Iterator[LogicalVolume]:
        if "logical_volumes" not in self._section:
            return
        listed = _section(self._disk, self._section, "logical_volumes")
        taken: list[Extent] = []
        for name in listed:
            if not _NAME.fullmatch(name):
                raise _wrong(self._disk, f"a volume is named {name!r}")
            section = _section(self._disk, listed, name)
            status = section.get("status")
            if not isinstance(status, list) or "VISIBLE" not in status:
                continue
            volume = self._volume(name, section)
            taken += volume.extents
            yield volume
        taken.sort(key=lambda extent: extent.offset)
        for one, other in itertools.pairwise(taken):
            if one.end > other.offset:
                raise _wrong(
                    self._disk, f"logical volumes of {self._name} overlap"
                )

    def _volume(self, name: str, section: Section) -> LogicalVolume:
        count = _number(self._disk, section, "segment_count")
        if not 0 < count <= _MAX_SEGMENTS:
            raise _wrong(self._disk, f"{name} has {count} segments")
        extents: list[Extent] = []
        kinds: list[str] = []
        expected = 0
        for index in range(1, count + 1):
            segment = _section(self._disk, section, f"segment{index}")
            kind = str(segment.get("type"))
            if kind == "striped" and segment.get("stripe_count") == 1:
                kind = "linear"
            kinds.append(kind)
            if _number(self._disk, segment, "start_extent") != expected:
                raise _wrong(self._disk, f"{name} has a gap or an overlap")
            length = _number(self._disk, segment, "extent_count")
            expected += length
            if kind == "linear":
                extents.append(self._extent(name, segment, length))
        plain = set(kinds) == {"linear"}
        return LogicalVolume(
            self._name,
            name,
            tuple(dict.fromkeys(kinds)),
            tuple(extents) if plain else (),
        )

    def _extent(self, name: str, segment: Section, length: int) -> Extent:
        stripes = segment.get("stripes")
        if not isinstance(stripes, list) or len(stripes) != 2:
            raise _wrong(self._disk, f"{name} has no place")
        key, first = stripes
        if not isinstance(first, int) or first < 0 or not length:
            raise _wrong(self._disk, f"{name} is at extent {first!r}")
        if key not in self._starts:
            raise errors.InvalidFile(
                self._disk.path,
                f"a part of the logical volume {self._name}/{name} is on"
                " another disk",
            )
        partition, start = self._starts[key]
        return _within(
            self._disk,
            partition,
            start + first * self._extent_size,
            length * self._extent_size,
        )


def _parse(disk: Disk, text: str) -> Section:
    """The text as nested sections."""
    root: dict[str, object] = {}
    stack = [root]
    tokens = _tokens(disk, text)
    for kind, word in tokens:
        if kind == "mark" and word == "}" and len(stack) > 1:
            stack.pop()
            continue
        _, mark = next(tokens, ("", ""))
        if kind != "name" or mark not in ("{", "=") or word in stack[-1]:
            raise _wrong(disk, f"metadata that is not understood at {word!r}")
        if mark == "=":
            stack[-1][word] = _value(disk, tokens)
            continue
        if len(stack) > _MAX_DEPTH:
            raise _wrong(disk, "metadata that is nested too deeply")
        section: dict[str, object] = {}
        stack[-1][word] = section
        stack.append(section)
    if len(stack) > 1:
        raise _wrong(disk, "metadata that ends early")
    return root


def _value(disk: Disk, tokens: Iterator[tuple[str, str]]) -> object:
    kind, word = next(tokens, ("", ""))
    if kind == "string":
        return word[1:-1]
    if kind == "number":
        return int(word[:20])
    values: list[object] = []
    if word != "[":
        raise _wrong(disk, f"metadata that is not understood at {word!r}")
    for kind, word in tokens:
        if word == "]":
            return values
        if kind in ("string", "number"):
            values.append(word[1:-1] if kind == "string" else int(word[:20]))
        elif word != ",":
            break
    raise _wrong(disk, "metadata with a list that does not end")


def _tokens(disk: Disk, text: str) -> Iterator[tuple[str, str]]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _wrong(disk, f"metadata that is not understood at {at}")
        at = match.end()
        if match.lastgroup:
            yield match.lastgroup, match.group()


def _section(disk: Disk, parent: Section, key: str) -> Section:
    section = parent.get(key)
    if not isinstance(section, Mapping):
        raise _wrong(disk, f"metadata without {key}")
    return section


def _number(disk: Disk, section: Section, key: str) -> int:
    value = section.get(key)
    if not isinstance(value, int) or value < 0:
        raise _wrong(disk, f"metadata with {key} = {value!r}")
    return value


def _within(disk: Disk, extent: Extent, offset: int, size: int) -> Extent:
    """A part of a partition."""
    if offset + size > extent.size:
        raise _wrong(disk, f"{size} bytes at {offset} leave the partition")
    return Extent(extent.offset + offset, size)


def _crc(data: bytes) -> int:
    """LVM's checksum: a CRC-32 that is not inverted at its ends."""
    inverted = _CRC_START ^ 0xFFFFFFFF
    return zlib.crc32(data, inverted) ^ 0xFFFFFFFF


def _wrong(disk: Disk, problem: str) -> errors.InvalidFile:
    return errors.InvalidFile(
        disk.path, f"the LVM metadata cannot be trusted: {problem}"
    )
