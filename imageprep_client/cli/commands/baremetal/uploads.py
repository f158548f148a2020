"""``image-prepare baremetal``: images in Glance and in registries."""

from __future__ import annotations

import argparse
import dataclasses
import shlex
from typing import TYPE_CHECKING

from imageprep_client import wording
from imageprep_client.cli import base, columns, options, report

if TYPE_CHECKING:
    from imageprep_client.client import baremetal_uploads


def open_uploads(command: base.Command) -> baremetal_uploads.BaremetalUploads:
    """The client; it connects to the cloud on demand."""
    # Only when a command runs: its modules cost every start otherwise.
    from imageprep_client.client import baremetal_uploads, cloud

    return baremetal_uploads.BaremetalUploads(lambda: cloud.connect(command))


class BaremetalRegister(base.Lister):
    """Register images of disks, kernels and ramdisks in Glance.

    The images get the formats and properties that Glance and Ironic expect.
    Images that are present already are not uploaded again; an interrupted
    upload is repeated from the start. The images of one name form a set.

    Exit status: 0 if all images are in place, 1 if some are, 2 if none is.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from imageprep_client.client import baremetal_uploads

        parser.add_argument(
            "name",
            metavar="<name>",
            help="Name of the image; a kernel is <name>-kernel, a ramdisk"
            " <name>-ramdisk",
        )
        for option, text in (
            ("whole-disk", "Image of a whole disk, raw or qcow2"),
            ("partition", "Root file system, as written by baremetal extract"),
            ("kernel", "Kernel"),
            ("ramdisk", "Ramdisk"),
        ):
            parser.add_argument(f"--{option}", metavar="<file>", help=text)
        parser.add_argument(
            "--deploy",
            action="store_true",
            help="Register the kernel and the ramdisk of the Ironic agent",
        )
        visibility = parser.add_mutually_exclusive_group()
        for choice in baremetal_uploads.VISIBILITIES:
            visibility.add_argument(
                f"--{choice}",
                action="store_const",
                dest="visibility",
                const=choice,
                default="private",
                help=f"Set the visibility of the images to {choice}",
            )
        parser.add_argument(
            "--property",
            metavar="<key=value>",
            action="append",
            type=_property,
            help="Property to set on all images (repeatable)",
        )
        parser.add_argument(
            "--architecture",
            metavar="<architecture>",
            help="Architecture, such as x86_64 or aarch64 (default: that of"
            " the kernel)",
        )
        parser.add_argument(
            "--existing",
            choices=baremetal_uploads.EXISTING,
            default="keep",
            help="Policy for an existing image of this name with other"
            " content: keep it, rename it, or delete it when the new one is"
            " in place (default: %(default)s)",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Show what would be uploaded, and change nothing",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import baremetal_uploads

        request = options.request(
            baremetal_uploads.RegisterRequest,
            parsed_args,
            properties=dict(parsed_args.property),
        )
        with self.observing() as observer:
            images = open_uploads(self).register(request, observer)
        self.report = {
            "name": request.name,
            "dry_run": request.dry_run,
            "images": list(map(dataclasses.asdict, images)),
        }
        uploaded = [i for i in images if i.outcome == "uploaded"]
        total = sum(image.size for image in uploaded)
        self.summary = (
            f"{request.name}: {len(uploaded)} of {len(images)} images"
            f" uploaded, {wording.size(total)},"
        )
        if not request.dry_run:
            self.next_step = (
                "next: openstack image-prepare baremetal show"
                f" {shlex.quote(request.name)}"
            )
        return ("Name", "Role", "ID", "Outcome", "Size"), (
            (i.name, i.role, i.id, i.outcome, columns.Size(i.size))
            for i in images
        )


class BaremetalList(base.Lister):
    """List the sets of bare-metal images in Glance."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--orphans",
            action="store_true",
            help="List only incomplete sets and leftover images, with the"
            " reasons",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        sets = open_uploads(self).sets()
        if parsed_args.orphans:
            sets = [images for images in sets if images.problems]
        return ("Name", "Kind", "Images", "Size", "Problems"), (
            (
                images.name,
                images.kind,
                len(images.images),
                columns.Size(sum(image.size for image in images.images)),
                columns.Sentences(list(images.problems)),
            )
            for images in sets
        )


class BaremetalShow(base.ShowOne):
    """Show the images of a name and the settings of Ironic for them.

    instance_info, driver_info and kernel_append_params are ready for
    "openstack baremetal node set". With --metal3 and "-f yaml", the fields
    are those of "image:" of a BareMetalHost.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "name",
            metavar="<name>",
            help="Name in Glance; with --metal3 also"
            " <host>[:<port>]/<repository>:<tag>, as pushed",
        )
        parser.add_argument(
            "--metal3",
            action="store_true",
            help="Show the image as a Metal3 BareMetalHost names it",
        )
        parser.add_argument(
            "--architecture",
            metavar="<architecture>",
            default="x86_64",
            help="With --metal3: architecture of the host (default:"
            " %(default)s)",
        )
        options.add_registry_options(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        if parsed_args.metal3:
            image = open_uploads(self).metal3(
                parsed_args.name,
                options.registry_options(parsed_args),
                parsed_args.architecture,
            )
            return tuple(image), tuple(image.values())
        images, settings = open_uploads(self).show(parsed_args.name)
        fields = {
            "name": images.name,
            "kind": images.kind,
            "images": columns.Rows(
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
                    for image in images.images
                ]
            ),
            "problems": columns.Sentences(list(images.problems)),
            "node_set_options": columns.Sentences(
                [
                    f"--{kind.replace('_', '-')} {key}={shlex.quote(value)}"
                    for (kind, key), value in settings.items()
                ]
            ),
        }
        for kind in ("instance_info", "driver_info"):
            chosen = {k: v for (of, k), v in settings.items() if of == kind}
            fields[kind] = columns.Pairs(chosen)
        return tuple(fields), tuple(fields.values())


class BaremetalDelete(base.Command):
    """Delete all images of a name from Glance."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "name", metavar="<name>", help="Name of the set of images"
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        deleted = open_uploads(self).delete(parsed_args.name)
        self.report = {
            "name": parsed_args.name,
            "images": list(map(dataclasses.asdict, deleted)),
        }
        total = sum(image.size for image in deleted)
        self.summary = (
            f"{parsed_args.name}: {wording.counted(len(deleted), 'image')}"
            " deleted from Glance,"
            f" {wording.size(total)},"
        )


class BaremetalPush(base.Lister):
    """Push disk images to a registry or a tree, from which Ironic deploys.

    One tag can name raw and qcow2 images for several architectures, and
    kernels and ramdisks. A second call adds files, or replaces those for the
    same architecture. The image_source of a node is then oci://<location>; a
    deploy_kernel is oci://<repository>@<digest>.

    Exit status: 0 if the tag names all files, 2 if nothing was pushed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "location",
            metavar="<location>",
            help="Destination: <host>[:<port>]/<repository>:<tag>, a tree as"
            " image-serve:<directory>//<repository>:<tag>, or a layout as"
            " oci:<directory>//<repository>:<tag>",
        )
        for kind, text in (
            ("image", "Image of a whole disk, raw or qcow2 (repeatable)"),
            ("kernel", "Kernel, such as that of the Ironic agent"),
            ("ramdisk", "Ramdisk"),
        ):
            parser.add_argument(
                f"--{kind}",
                metavar="<file>[,architecture=<architecture>]",
                action="append",
                dest=f"{kind}s",
                help=text,
            )
        options.add_registry_options(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
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
            )
        self.report = {
            "location": parsed_args.location,
            **dataclasses.asdict(pushed),
        }
        self.summary = (
            f"{parsed_args.location}: {len(pushed.files)} of {pushed.entries}"
            f" entries pushed, {wording.size(pushed.copied)} copied,"
        )
        self.next_step = f"index {pushed.digest}"
        return ("Kind", "Architecture", "Digest", "Size", "File"), (
            (f.kind, f.architecture, f.digest, columns.Size(f.size), f.path)
            for f in pushed.files
        )


def _file_for(text: str) -> tuple[str, str | None]:
    """A file, and its architecture if it is given."""
    path, comma, architecture = text.rpartition(",architecture=")
    return (path, architecture) if comma else (text, None)


def _property(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not <key>=<value>")
    return key, value
