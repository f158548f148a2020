"""``image-prepare baremetal``: images of disks, kernels and ramdisks."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from osc_lib.cli import format_columns
from osc_lib.i18n import _

from imageprep_client import wording
from imageprep_client.cli import base, columns, options

if TYPE_CHECKING:
    from imageprep_client.client import baremetal_uploads


def open_uploads(command: base.Command) -> baremetal_uploads.BaremetalUploads:
    """The client, whose connection to the cloud is made when it is needed."""
    # Only when a command runs: its modules cost every start otherwise.
    from imageprep_client.client import baremetal_uploads, cloud

    return baremetal_uploads.BaremetalUploads(lambda: cloud.connect(command))


def _add_file(parser: argparse.ArgumentParser) -> None:
    from imageprep_client.client import baremetal

    parser.add_argument(
        "file",
        metavar="<file>",
        help=_("Image of a disk, raw or qcow2"),
    )
    parser.add_argument(
        "--max-size",
        metavar="<GiB>",
        type=options.positive,
        default=baremetal.MAX_SIZE,
        help=_(
            "Largest size of the disk in it that is accepted (default:"
            " %(default)s)"
        ),
    )


class BaremetalInspect(base.ShowOne):
    """Show what an image of a disk holds, and what Ironic will say to it.

    Format, partitions, logical volumes, file systems, distribution, kernels,
    command line and firmware. The image may come from anywhere: it is
    checked before any program opens it. No root rights are needed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_file(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        from imageprep_client.client import baremetal

        found = baremetal.BaremetalClient().inspect(
            parsed_args.file, parsed_args.max_size
        )
        fields = {
            "file": parsed_args.file,
            "format": found.format.name,
            "virtual_size": found.format.virtual_size,
            "partition_table": found.table,
            "sector_size": found.sector_size,
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
                    for volume in found.volumes
                ]
            ),
            "firmware": format_columns.ListColumn(list(found.firmware)),
            "distribution": found.distribution,
            "root": found.root,
            "boot": found.boot,
            "ostree_deployment": found.deployment,
            "kernels": format_columns.ListColumn(list(found.kernels)),
            "architecture": found.architecture,
            "command_line": found.command_line,
            "host_only_ramdisk": found.host_only,
            "extractable": found.extractable,
            "problem": found.problem,
            "advice": columns.Sentences(list(found.advice)),
        }
        usable = "can" if found.extractable else "cannot"
        self.summary = f"{parsed_args.file}: inspected"
        self.next_step = f"kernel, ramdisk and root {usable} be extracted"
        return tuple(fields), tuple(fields.values())


class BaremetalExtract(base.ShowOne):
    """Extract kernel, ramdisk and root file system of an image of a disk.

    Writes vmlinuz, initramfs, root.raw, SHA256SUMS and manifest.json. The
    root file system is not changed by a byte: the command line that is shown
    names it, and masks mounts that do not come along. Neither root rights
    nor a raw copy of the disk are needed.

    Exit status: 0 when all is written, 2 when nothing is.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from imageprep_client.client import baremetal

        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        _add_file(parser)
        parser.add_argument(
            "--output-dir",
            metavar="<directory>",
            required=True,
            help=_("Where to write; files of the same names are replaced"),
        )
        parser.add_argument(
            "--kernel",
            metavar="<version>",
            default="",
            help=_("Version of the kernel to take (default: the newest)"),
        )
        parser.add_argument(
            "--root-lv",
            metavar="<vg/lv>",
            default="",
            help=_("Logical volume of the root, where several may be it"),
        )
        parser.add_argument(
            "--only",
            action="append",
            choices=sorted(baremetal.PARTS),
            default=[],
            help=_("What to write (repeatable; default: everything)"),
        )
        parser.add_argument(
            "--append",
            metavar="<options>",
            default="",
            help=_("Options to add to the command line"),
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        from imageprep_client.client import baremetal

        with self.observing() as observer:
            result = baremetal.BaremetalClient().extract(
                baremetal.ExtractRequest(
                    image=parsed_args.file,
                    output_directory=parsed_args.output_dir,
                    kernel=parsed_args.kernel,
                    root_lv=parsed_args.root_lv,
                    only=parsed_args.only,
                    append=parsed_args.append,
                    max_size=parsed_args.max_size,
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
        total = sum(file.size for file in result.files)
        self.summary = (
            f"{parsed_args.file}: {len(result.files)} files,"
            f" {wording.size(total)}, written to {parsed_args.output_dir}"
        )
        self.next_step = "next: baremetal register"
        return tuple(fields), tuple(fields.values())


class BaremetalPush(base.Lister):
    """Push images of disks to a registry or a tree, as Ironic deploys them.

    Under one tag there may be raw and qcow2 images for several processors,
    and kernels and ramdisks. A second call adds to what is there, or takes
    the place of what is for the same. A node's image_source is then
    oci://<location>; a deploy_kernel is oci://<repository>@<digest>.

    Exit status: 0 when the tag names all of it, 2 when nothing was pushed.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "location",
            metavar="<location>",
            help=_(
                "Where to: <host>[:<port>]/<repository>:<tag>, a tree as"
                " image-serve:<directory>//<repository>:<tag>, or a layout as"
                " oci:<directory>//<repository>:<tag>"
            ),
        )
        for kind, text in (
            ("image", _("Image of a whole disk, raw or qcow2 (repeatable)")),
            ("kernel", _("Kernel, such as that of Ironic's agent")),
            ("ramdisk", _("Ramdisk")),
        ):
            parser.add_argument(
                f"--{kind}",
                metavar="<file>[,architecture=<architecture>]",
                action="append",
                dest=f"{kind}s",
                default=[],
                help=text,
            )
        options.add_registry_options(parser)
        options.add_concurrency_option(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from imageprep_client.client import baremetal_uploads

        files = [
            baremetal_uploads.ArtifactFile(kind, *_file_for(text))
            for kind, given in (
                ("disk", parsed_args.images),
                ("kernel", parsed_args.kernels),
                ("ramdisk", parsed_args.ramdisks),
            )
            for text in given
        ]
        with self.observing() as observer:
            pushed = open_uploads(self).push(
                files,
                parsed_args.location,
                options.registry_options(parsed_args),
                observer,
                concurrency=parsed_args.concurrency,
            )
        self.summary = (
            f"{parsed_args.location}: {len(pushed.files)} of {pushed.entries}"
            f" entries pushed, {wording.size(pushed.copied)} copied,"
        )
        self.next_step = f"index {pushed.digest}"
        return ("Kind", "Architecture", "Digest", "Size", "File"), (
            (f.kind, f.architecture, f.digest, columns.Size(f.size), f.path)
            for f in pushed.files
        )


def _file_for(text: str) -> tuple[str, str]:
    """A file and its architecture, empty where it is not said."""
    path, comma, architecture = text.rpartition(",architecture=")
    return (path, architecture) if comma else (text, "")
