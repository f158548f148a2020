"""``image-prepare baremetal``: images of disks, kernels and ramdisks."""

from __future__ import annotations

import argparse
import shlex
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns
from osc_lib.cli import format_columns
from osc_lib.i18n import _

from imageprep_client.cli import base, progress

if TYPE_CHECKING:
    from imageprep_client.client import baremetal


class _Lines(columns.FormattableColumn[list[str]]):
    """Sentences: one a line for people, a list in JSON and YAML."""

    def human_readable(self) -> str:
        return "\n".join(self._value)

    def machine_readable(self) -> list[str]:
        return self._value


class _Rows(columns.FormattableColumn[list[dict[str, Any]]]):
    """Objects: one a line for people, with sizes that they can read."""

    def human_readable(self) -> str:
        return "\n".join(
            ", ".join(
                progress.size(value) if key == "size" else str(value)
                for key, value in row.items()
                if value
            )
            for row in self._value
        )

    def machine_readable(self) -> list[dict[str, Any]]:
        return self._value


class _Pairs(columns.FormattableColumn[dict[str, str]]):
    """A dictionary: a line for each key for people."""

    def human_readable(self) -> str:
        return "\n".join(f"{k}={v}" for k, v in self._value.items())

    def machine_readable(self) -> dict[str, str]:
        return self._value


class _Size(columns.FormattableColumn[int]):
    """Bytes, with a unit for people."""

    def human_readable(self) -> str:
        return progress.size(self._value)

    def machine_readable(self) -> int:
        return self._value


def _client(command: base.Command) -> baremetal.BaremetalClient:
    # Only when a command runs: its modules cost every start otherwise.
    from imageprep_client.cli import cloud
    from imageprep_client.client import baremetal

    return baremetal.BaremetalClient(lambda: cloud.connect(command))


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
        type=base.positive,
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
        started = time.monotonic()
        found = _client(self).inspect(parsed_args.file, parsed_args.max_size)
        fields = {
            "file": parsed_args.file,
            "format": found.format.name,
            "virtual_size": found.format.virtual_size,
            "partition_table": found.table,
            "sector_size": found.sector_size,
            "volumes": _Rows(
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
            "advice": _Lines(list(found.advice)),
        }
        usable = "can" if found.extractable else "cannot"
        self.tell(
            f"{parsed_args.file}: inspected in"
            f" {time.monotonic() - started:.1f} s; kernel, ramdisk and root"
            f" {usable} be extracted"
        )
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

        started = time.monotonic()
        with progress.Progress() as observer:
            result = _client(self).extract(
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
            "files": _Rows(
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
        self.tell(
            f"{parsed_args.file}: {len(result.files)} files,"
            f" {progress.size(total)}, written to {parsed_args.output_dir} in"
            f" {time.monotonic() - started:.1f} s; next: baremetal register"
        )
        return tuple(fields), tuple(fields.values())


class BaremetalRegister(base.Lister):
    """Register images of disks, kernels and ramdisks in Glance.

    In the forms that Glance and Ironic take. What is there already is not
    uploaded again; an upload that was cut is repeated, and nothing of it
    stays. The images of one name belong together.

    Exit status: 0 when all is in place, 1 when some is, 2 when nothing is.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from imageprep_client.client import baremetal

        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "name",
            metavar="<name>",
            help=_(
                "Name of the image; a kernel is <name>-kernel, a ramdisk"
                " <name>-ramdisk"
            ),
        )
        for option, text in (
            ("whole-disk", _("Image of a whole disk, raw or qcow2")),
            ("partition", _("Root file system, as baremetal extract has it")),
            ("kernel", _("Kernel")),
            ("ramdisk", _("Ramdisk")),
        ):
            parser.add_argument(
                f"--{option}", metavar="<file>", default="", help=text
            )
        parser.add_argument(
            "--deploy",
            action="store_true",
            help=_("Kernel and ramdisk are those of Ironic's agent"),
        )
        visibility = parser.add_mutually_exclusive_group()
        for choice in baremetal.VISIBILITIES:
            visibility.add_argument(
                f"--{choice}",
                action="store_const",
                dest="visibility",
                const=choice,
                default="private",
                help=_("Who sees the images: {choice}").format(choice=choice),
            )
        parser.add_argument(
            "--property",
            metavar="<key=value>",
            action="append",
            type=_property,
            default=[],
            help=_("Property to set on all images (repeatable)"),
        )
        parser.add_argument(
            "--architecture",
            metavar="<architecture>",
            default="",
            help=_(
                "Processor, such as x86_64 or aarch64 (default: what the"
                " kernel says)"
            ),
        )
        parser.add_argument(
            "--existing",
            choices=baremetal.EXISTING,
            default="keep",
            help=_(
                "What becomes of an image of this name with other content:"
                " it is kept, renamed, or deleted when the new one is in"
                " place (default: %(default)s)"
            ),
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help=_("Show what would be uploaded, and change nothing"),
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from imageprep_client.client import baremetal

        started = time.monotonic()
        request = baremetal.RegisterRequest(
            name=parsed_args.name,
            whole_disk=parsed_args.whole_disk,
            partition=parsed_args.partition,
            kernel=parsed_args.kernel,
            ramdisk=parsed_args.ramdisk,
            deploy=parsed_args.deploy,
            visibility=parsed_args.visibility,
            properties=dict(parsed_args.property),
            architecture=parsed_args.architecture,
            existing=parsed_args.existing,
            dry_run=parsed_args.dry_run,
        )
        with progress.Progress() as observer:
            images = _client(self).register(request, observer)
        uploaded = [i for i in images if i.outcome == "uploaded"]
        total = sum(image.size for image in uploaded)
        self.tell(
            f"{request.name}: {len(uploaded)} of {len(images)} images"
            f" uploaded, {progress.size(total)}, in"
            f" {time.monotonic() - started:.1f} s; next: baremetal show"
            f" {request.name}"
        )
        return ("Name", "Role", "ID", "Outcome", "Size"), (
            (i.name, i.role, i.id, i.outcome, _Size(i.size)) for i in images
        )


class BaremetalList(base.Lister):
    """List the bare-metal images in Glance: what belongs together."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--orphans",
            action="store_true",
            help=_("Only what is not whole, or left over, and why"),
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        found = _client(self).sets()
        if parsed_args.orphans:
            found = [each for each in found if each.problems]
        return ("Name", "Kind", "Images", "Size", "Problems"), (
            (
                each.name,
                each.kind,
                len(each.images),
                _Size(sum(image.size for image in each.images)),
                _Lines(list(each.problems)),
            )
            for each in found
        )


class BaremetalShow(base.ShowOne):
    """Show the images of a name, and what Ironic is told of them.

    instance_info, driver_info and kernel_append_params are ready to be given
    to "openstack baremetal node set".
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help=_("Name"))
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        found, settings = _client(self).show(parsed_args.name)
        fields = {
            "name": found.name,
            "kind": found.kind,
            "images": _Rows(
                [
                    {
                        "role": image.properties["image_prepare_role"],
                        "id": image.id,
                        "name": image.name,
                        "status": image.status,
                        "size": image.size,
                        "disk_format": image.disk_format,
                        "visibility": image.visibility,
                    }
                    for image in found.images
                ]
            ),
            "problems": _Lines(list(found.problems)),
            "node_set_options": _Lines(
                [
                    f"--{kind.replace('_', '-')} {key}={shlex.quote(value)}"
                    for (kind, key), value in settings.items()
                ]
            ),
        }
        for kind in ("instance_info", "driver_info"):
            chosen = {k: v for (of, k), v in settings.items() if of == kind}
            fields[kind] = _Pairs(chosen)
        return tuple(fields), tuple(fields.values())


class BaremetalDelete(base.Command):
    """Delete the images of a name from Glance, all of them."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument("name", metavar="<name>", help=_("Name"))
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        deleted = _client(self).delete(parsed_args.name)
        total = sum(image.size for image in deleted)
        self.tell(
            f"{parsed_args.name}: {len(deleted)} images deleted from Glance,"
            f" {progress.size(total)}"
        )


def _property(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not <key>=<value>")
    return key, value
