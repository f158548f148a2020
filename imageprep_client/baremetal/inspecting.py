"""The content of an image, and how Glance and Ironic treat it."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterator
from pathlib import Path

from imageprep_client.baremetal import commandline, extracting, ramdisk
from imageprep_client.baremetal import system as systems
from imageprep_client.baremetal.boot import Kernel
from imageprep_client.baremetal.disks import formats, partitions, volumes
from imageprep_client.baremetal.disks.disk import DiskFormat
from imageprep_client.baremetal.disks.volumes import Volume
from imageprep_client.baremetal.system import System
from imageprep_client.host.disk import reported


@dataclasses.dataclass(frozen=True, slots=True)
class Inspection:
    """The content of an image.

    :ivar table: the kind of its partition table: ``gpt``, ``mbr`` or
        ``none``.
    :ivar firmware: the kinds of firmware that can boot it.
    :ivar distribution: as ``PRETTY_NAME`` has it.
    :ivar kernels: versions, the one that is taken by default first.
    :ivar host_only: whether the ramdisk is for one host: ``yes``, ``no`` or
        ``unknown``.
    :ivar problem: why `extracting.extract` cannot use it; None if it can.
    :ivar advice: how Glance and Ironic will treat it, in sentences.
    """

    format: DiskFormat
    table: str
    sector_size: int
    volumes: tuple[Volume, ...]
    firmware: tuple[str, ...] = ()
    distribution: str = ""
    root: str = ""
    boot: str | None = None
    deployment: str = ""
    kernels: tuple[str, ...] = ()
    command_line: str = ""
    architecture: str | None = None
    host_only: str = "unknown"
    problem: str | None = None
    advice: tuple[str, ...] = ()

    @property
    def extractable(self) -> bool:
        return self.problem is None


def inspect(path: str, max_size: int = formats.MAX_SIZE) -> Inspection:
    """Look into an image.

    Its volumes are read to a temporary directory.

    :param max_size: GiB that the disk may have.
    :raises InvalidFile: when the image cannot be trusted.
    :raises StoreError: when the directory cannot be written.
    """
    with (
        extracting.opened(path, max_size) as (disk, format),
        tempfile.TemporaryDirectory(prefix="imageprep-") as directory,
        reported(Path(directory)),
    ):
        try:
            table = partitions.read(disk)
        except partitions.MbrOnly as error:
            return Inspection(
                format,
                "mbr",
                partitions.SECTOR_SIZES[0],
                (),
                problem=error.problem,
                advice=tuple(_whole_disk(format, "mbr", ())),
            )
        content = tuple(volumes.find(disk, table))
        firmware = systems.firmware(table)
        inspection = Inspection(
            format,
            table.kind,
            table.sector_size,
            content,
            firmware,
            advice=tuple(_whole_disk(format, table.kind, firmware)),
        )
        slices = systems.Slices(disk, Path(directory), format.virtual_size)
        try:
            system = systems.find(disk, slices)
        except systems.NoSystem as error:
            return dataclasses.replace(inspection, problem=error.problem)
        return _with_system(inspection, system, path, Path(directory))


def _with_system(
    inspection: Inspection, system: System, path: str, directory: Path
) -> Inspection:
    kernel = next(iter(system.kernels), None)
    architecture, problem = None, None
    host_only, line = "unknown", ""
    if kernel is None:
        problem = "has no kernel"
    else:
        kernel.tree.save(kernel.path, directory / extracting.KERNEL)
        architecture = ramdisk.architecture(directory / extracting.KERNEL)
        if kernel.ramdisk:
            kernel.tree.save(kernel.ramdisk, directory / extracting.RAMDISK)
            host_only = ramdisk.host_only(directory / extracting.RAMDISK)
        else:
            problem = f"has no ramdisk for the kernel {kernel.version}"
        line = commandline.of(system, kernel, image=path).text
    names = system.release
    return dataclasses.replace(
        inspection,
        distribution=names.get("PRETTY_NAME") or names.get("NAME", ""),
        root=system.root.name,
        boot=system.boot.name if system.boot else None,
        deployment=system.deployment,
        kernels=tuple(dict.fromkeys(k.version for k in system.kernels)),
        command_line=line,
        architecture=architecture,
        host_only=host_only,
        problem=problem,
        advice=(
            *inspection.advice,
            *_partition(system),
            *_pair(kernel, host_only),
        ),
    )


def _whole_disk(
    format: DiskFormat, table: str, firmware: tuple[str, ...]
) -> Iterator[str]:
    if table == "none":
        yield (
            "There is no partition table: register the image as a partition"
            " image, not as a whole-disk image."
        )
        return
    yield (
        f"Whole-disk image (recommended by Ironic): {format.name}, container"
        " bare, img_type=whole-disk; Glance and Ironic accept it."
    )
    if table == "mbr":
        yield (
            "The partition table is an MBR: nodes boot it in BIOS mode, or in"
            " UEFI mode if one of the partitions is an EFI system partition."
        )
        return
    if "uefi" not in firmware:
        yield (
            "There is no EFI system partition: nodes in UEFI mode do not boot"
            " the whole-disk image."
        )
    if "bios" not in firmware:
        yield (
            "There is no BIOS boot partition: nodes in BIOS mode most likely"
            " do not boot the whole-disk image."
        )


def _partition(system: System) -> Iterator[str]:
    yield (
        "Partition image with the root only: raw, container bare,"
        " img_type=partition. Ironic refuses the disk format ami for it, and"
        " its agent no longer installs a boot loader for BIOS."
    )
    efi = f"{system.deployment}/boot/efi/EFI"
    if not system.tree.names(efi):
        yield (
            f"The root has no {efi}: nodes in UEFI mode do not boot the"
            " partition image."
        )


def _pair(kernel: Kernel | None, host_only: str) -> Iterator[str]:
    if kernel is None:
        return
    yield (
        "Kernel and ramdisk, for the ramdisk deploy interface: aki/aki and"
        " ari/ari. Glance rejects a kernel that is declared raw as a damaged"
        " disk. Ironic no longer boots instances over the network with root="
        " on the command line."
    )
    if host_only == "yes":
        yield f"Note: {extracting.HOST_ONLY}."
