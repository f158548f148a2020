"""Files to register in Glance, checked, and the images they become."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.baremetal import ramdisk, records
from imageprep_client.baremetal.disks import formats, partitions
from imageprep_client.baremetal.disks import volumes as volume_kinds
from imageprep_client.baremetal.extracting import KERNEL, MANIFEST, opened
from imageprep_client.baremetal.glance import FIELDS
from imageprep_client.host import inputs
from imageprep_client.observer import Observer

EXISTING = ("keep", "rename", "replace")
VISIBILITIES = ("private", "public", "community", "shared")
_ROOTS = frozenset({"ext4", "xfs", "btrfs", "squashfs"})


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RegisterRequest:
    """A request for a disk, a partition, or a kernel and a ramdisk.

    :ivar whole_disk: file with an image of a whole disk.
    :ivar partition: file with a root file system; `kernel` and `ramdisk` may
        belong to it.
    :ivar deploy: kernel and ramdisk are those of Ironic's agent.
    :ivar existing: what becomes of an image that has the name and other
        content, one of `EXISTING`.
    """

    name: str
    whole_disk: str | None = None
    partition: str | None = None
    kernel: str | None = None
    ramdisk: str | None = None
    deploy: bool = False
    visibility: str = "private"
    properties: Mapping[str, str] = dataclasses.field(default_factory=dict)
    architecture: str | None = None
    existing: str = "keep"
    dry_run: bool = False

    def check(self) -> None:
        """Find out whether the options fit together.

        :raises InvalidArgument: when they do not.
        """
        pair = bool(self.kernel) + bool(self.ramdisk)
        if self.whole_disk and (self.partition or pair):
            raise errors.InvalidArgument(
                "--whole-disk takes no --partition, --kernel or --ramdisk"
            )
        if not (self.whole_disk or self.partition or pair):
            raise errors.InvalidArgument(
                "nothing to register",
                hint="give --whole-disk, --partition, or --kernel and"
                " --ramdisk",
            )
        if pair == 1:
            raise errors.InvalidArgument(
                "--kernel and --ramdisk belong together"
            )
        if self.deploy and (self.partition or not pair):
            raise errors.InvalidArgument(
                "--deploy is for --kernel and --ramdisk alone"
            )
        if (
            not self.name.strip()
            or len(self.name) > 200
            or not self.name.isprintable()
        ):
            raise errors.InvalidArgument(
                f"{self.name!r}: no name of up to 200 printable characters"
            )
        if reserved := sorted(records.RESERVED & set(self.properties)):
            raise errors.InvalidArgument(
                f"--property {reserved[0]}: is set by the command itself"
            )
        if fields := sorted(FIELDS & set(self.properties)):
            raise errors.InvalidArgument(
                f"--property {fields[0]}: is a field of Glance itself, and no"
                " property",
                hint="set it when the image is there: openstack image set",
            )


@dataclasses.dataclass(frozen=True, slots=True)
class Part:
    """A file and the image that it becomes."""

    role: str
    name: str
    path: str
    size: int
    fields: Mapping[str, str]


def parts_of(request: RegisterRequest, observer: Observer) -> list[Part]:
    """The images to register, each file checked, in the order of uploads."""
    common = dict(request.properties)
    parts = []
    if request.kernel and request.ramdisk:
        sizes = [_size(path) for path in (request.kernel, request.ramdisk)]
        ramdisk.check(request.kernel, request.ramdisk)
        line, architecture = _manifest(request.kernel)
        own = ramdisk.architecture(Path(request.kernel)) or architecture
        wanted = request.architecture
        if own and wanted and own != wanted:
            raise errors.InvalidFile(
                request.kernel, f"is a kernel for {own}, not for {wanted}"
            )
        if not own:
            observer.warning(
                f"{request.kernel}: has no header of a kernel that is known"
            )
        common = _described(common, wanted or own)
        prefix = "deploy-" if request.deploy else ""
        # The line is that of the disk, and not of an agent.
        has_line = line and not request.deploy
        extra = {"os_command_line": str(line)} if has_line else {}
        for kind, path, form, size in (
            ("kernel", request.kernel, "aki", sizes[0]),
            ("ramdisk", request.ramdisk, "ari", sizes[1]),
        ):
            fields = {
                **({} if kind == "ramdisk" else extra),
                **common,
                "disk_format": form,
                "container_format": form,
            }
            name = f"{request.name}-{kind}"
            parts.append(Part(prefix + kind, name, path, size, fields))
    if disk := request.whole_disk or request.partition:
        whole = bool(request.whole_disk)
        fields = {
            **_described(common, request.architecture),
            "disk_format": _checked_disk(disk, whole=whole),
            "container_format": "bare",
            "img_type": "whole-disk" if whole else "partition",
        }
        role = records.DISK if whole else records.ROOT
        parts.append(Part(role, request.name, disk, _size(disk), fields))
    return parts


def _described(
    fields: dict[str, str], architecture: str | None
) -> dict[str, str]:
    if architecture:
        fields.setdefault("hw_architecture", architecture)
    return fields


def _size(path: str) -> int:
    with inputs.open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
    if not size:
        raise errors.InvalidFile(path, "is empty")
    return size


def _manifest(kernel: str) -> tuple[str | None, str | None]:
    """Command line and architecture from the manifest beside a kernel.

    None where `baremetal.extracting` did not write this very kernel.
    """
    path = Path(kernel).with_name(MANIFEST)
    with contextlib.suppress(OSError, ValueError, LookupError, TypeError):
        if not stat.S_ISREG(path.stat().st_mode):
            return None, None
        document: Any = json.loads(path.read_bytes()[: 1024 * 1024])
        with open(kernel, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if document["files"][KERNEL]["sha256"] == digest:
            architecture = str(document["architecture"])
            return str(document["command_line"]), architecture or None
    return None, None


def _checked_disk(path: str, *, whole: bool) -> str:
    """The disk format, when the image is of the kind that is declared."""
    with opened(path, formats.MAX_SIZE) as (disk, format):
        try:
            table = partitions.read(disk)
        except partitions.MbrOnly:
            kind = "mbr"
        else:
            kind = table.kind
            if kind == "none" and not whole:
                (volume,) = volume_kinds.find(disk, table) or (None,)
                if volume is None or volume.kind not in _ROOTS:
                    raise errors.InvalidFile(
                        path, "holds no file system that is known"
                    )
    if whole and kind == "none":
        raise errors.InvalidFile(
            path,
            "has no partition table: it is no whole disk",
            hint="register a file system with --partition",
        )
    if not whole and kind != "none":
        raise errors.InvalidFile(
            path,
            "has a partition table: it is a whole disk",
            hint="register it with --whole-disk",
        )
    return format.name
