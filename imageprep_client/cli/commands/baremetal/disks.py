"""``image-prepare baremetal``: images of disks on this host."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
from typing import TYPE_CHECKING

from osc_lib.cli import format_columns

from imageprep_client import wording
from imageprep_client.cli import base, columns, options, report

if TYPE_CHECKING:
    from imageprep_client.client.baremetal import ExtractResult


def _add_file(parser: argparse.ArgumentParser) -> None:
    from imageprep_client.client import baremetal

    parser.add_argument(
        "file", metavar="<file>", help="Disk image, raw or qcow2"
    )
    parser.add_argument(
        "--max-size",
        metavar="<GiB>",
        type=options.positive,
        default=baremetal.MAX_SIZE,
        help="Maximum virtual size of the disk (default: %(default)s)",
    )


class BaremetalInspect(base.ShowOne):
    """Show the content of a disk image and how Ironic will treat it.

    The output has format, partitions, logical volumes, file systems,
    distribution, kernels, command line and firmware. The image need not be
    trusted: it is checked before any program opens it. Root rights are not
    needed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_file(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client import baremetal

        disk = baremetal.inspect(parsed_args.file, parsed_args.max_size)
        fields = {
            "file": parsed_args.file,
            "format": disk.format.name,
            "virtual_size": columns.Size(disk.format.virtual_size),
            "partition_table": disk.table,
            "sector_size": disk.sector_size,
            "volumes": columns.Rows(
                [
                    {
                        "name": volume.name,
                        "type": volume.partition.type_name
                        if volume.partition
                        else "logical volume",
                        "content": volume.kind,
                        "size": sum(e.size for e in volume.extents),
                        "uuid": volume.uuid,
                    }
                    for volume in disk.volumes
                ]
            ),
            "firmware": format_columns.ListColumn(list(disk.firmware)),
            "distribution": disk.distribution,
            "root": disk.root,
            "boot": disk.boot or "",
            "ostree_deployment": disk.deployment,
            "kernels": format_columns.ListColumn(list(disk.kernels)),
            "architecture": disk.architecture or "",
            "command_line": disk.command_line,
            "host_only_ramdisk": disk.host_only,
            "extractable": disk.extractable,
            "problem": disk.problem or "",
            "advice": columns.Sentences(list(disk.advice)),
        }
        usable = "can" if disk.extractable else "cannot"
        self.summary = f"{parsed_args.file}: inspected"
        self.next_step = f"kernel, ramdisk and root {usable} be extracted"
        return tuple(fields), tuple(fields.values())


class BaremetalExtract(base.ShowOne):
    """Extract kernel, ramdisk and root file system from a disk image.

    Writes vmlinuz, initramfs, root.raw, SHA256SUMS and manifest.json. The
    root file system is copied unchanged: the command line in the output names
    it, and masks mounts of file systems that are not extracted. Neither root
    rights nor a raw copy of the disk are needed.

    Exit status: 0 if all files are written, 2 if none is.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from imageprep_client.client import baremetal

        _add_file(parser)
        parser.add_argument(
            "--output-dir",
            metavar="<directory>",
            required=True,
            help="Directory to write to; files of the same names are replaced",
        )
        parser.add_argument(
            "--kernel",
            metavar="<version>",
            help="Version of the kernel to extract (default: the newest)",
        )
        parser.add_argument(
            "--root-lv",
            metavar="<vg/lv>",
            help="Logical volume of the root file system, if there are"
            " several candidates",
        )
        parser.add_argument(
            "--only",
            action="append",
            choices=sorted(baremetal.PARTS),
            help="Part to write (repeatable; default: all parts)",
        )
        parser.add_argument(
            "--append",
            metavar="<options>",
            help="Options to append to the command line",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client import baremetal

        with self.observing() as observer:
            result = baremetal.extract(
                options.request(
                    baremetal.ExtractRequest,
                    parsed_args,
                    image=parsed_args.file,
                    output_directory=parsed_args.output_dir,
                ),
                observer,
            )
        fields = {
            "directory": parsed_args.output_dir,
            "files": columns.Rows(
                [
                    {"name": f.name, "size": f.size, "sha256": f.sha256}
                    for f in result.files
                ]
            ),
            "kernel_version": result.kernel_version,
            "architecture": result.architecture,
            "command_line": result.command_line,
        }
        self.report = {
            "image": parsed_args.file,
            "directory": parsed_args.output_dir,
            **dataclasses.asdict(result),
        }
        total = sum(file.size for file in result.files)
        self.summary = (
            f"{parsed_args.file}: {len(result.files)} files,"
            f" {wording.size(total)}, written to {parsed_args.output_dir}"
        )
        self.next_step = _next_step(parsed_args.output_dir, result)
        return tuple(fields), tuple(fields.values())


def _next_step(directory: str, result: ExtractResult) -> str:
    """The command that registers the files, if they are enough for one."""
    names = {file.name for file in result.files}
    given = {"--kernel": "vmlinuz", "--ramdisk": "initramfs"}
    if not names.issuperset(given.values()):
        given = {"--partition": "root.raw"}
    if not names.issuperset(given.values()):
        return ""
    words = [
        word
        for option, name in given.items()
        for word in (option, os.path.join(directory, name))
    ]
    return (
        "next: openstack image-prepare baremetal register NAME"
        f" {shlex.join(words)}"
    )
