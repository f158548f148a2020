"""``image-prepare machine export``, ``import``, ``cache``, ``publish``."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import pathlib

from osc_lib.cli import format_columns

from imageprep_client import wording
from imageprep_client.cli import base, columns, confirmation, options, report
from imageprep_client.cli.commands.machine import arguments
from imageprep_client.oci import redaction


class MachineExport(base.ShowOne):
    """Export the root of a machine as an image or an archive.

    The destination is an image, <host>[:<port>]/<repository>:<tag>,
    oci:<directory>//<repository>:<tag> or
    image-serve:<directory>//<repository>:<tag>, or a file whose name ends in
    .tar, .tar.gz, .tar.zst or .tar.xz. The checksum of a file is added to
    SHA256SUMS beside it. The same root gives the same bytes.

    Identity, secrets, logs and data of services are left out and listed. The
    list does not prove that no other secret is in the image: an archive is
    readable by its owner only, and a registry on another host requires
    verified TLS. Mounts of the machine are not exported.

    Exit status: 0 if the machine was exported, 2 if nothing was written.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from imageprep_client.client.machine import images

        arguments.add_name(parser)
        parser.add_argument(
            "--to",
            metavar="<destination>",
            required=True,
            dest="destination",
            help="Image or archive to write",
        )
        arguments.add_store_option(parser)
        parser.add_argument(
            "--compression",
            choices=images.COMPRESSIONS,
            help="Compression (default: according to the name of the archive;"
            " gz for an image)",
        )
        parser.add_argument(
            "--as-is",
            action="store_true",
            help="Leave nothing out; asks for confirmation if the destination"
            " is a registry",
        )
        parser.add_argument(
            "--live",
            action="store_true",
            help="Do not freeze a running machine while it is read; files may"
            " be half-written",
        )
        parser.add_argument(
            "--skip-present",
            action="store_true",
            help="Do nothing if the destination already has an image",
        )
        confirmation.add_option(parser)
        options.add_registry_options(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client.machine import images

        export = images.prepare_export(
            parsed_args.name,
            parsed_args.destination,
            store=parsed_args.store,
            compression=parsed_args.compression,
            as_is=parsed_args.as_is,
            live=parsed_args.live,
        )
        registry = options.registry_options(parsed_args)
        if parsed_args.skip_present:
            with self.observing() as observer:
                digest = export.present(registry, observer)
            if digest:
                self.report = {
                    "name": parsed_args.name,
                    "destination": export.destination,
                    "digest": digest,
                    "state": "present",
                }
                self.summary = f"{export.destination}: present, left alone,"
                return tuple(self.report), tuple(self.report.values())
        if parsed_args.as_is and export.is_registry and not parsed_args.yes:
            what = f"{parsed_args.name}: nothing was exported"
            confirmation.ask(
                f"Export {parsed_args.name} with all its secrets to"
                f" {parsed_args.destination}",
                what,
            )
        with self.observing() as observer:
            exported = export.run(registry, observer)
        self.report = dataclasses.asdict(exported)
        packed = exported.packed
        fields = {
            "name": exported.name,
            "service": exported.service,
            "destination": exported.destination,
            "digest": exported.digest,
            "state": "exported",
            "layer": packed.digest,
            "diff_id": packed.diff_id,
            "size": columns.Size(packed.size),
            "unpacked_size": columns.Size(packed.unpacked_size),
            "copied": columns.Size(exported.copied),
            "read": exported.reading,
            "scrubbed": columns.Rows(
                [
                    {
                        "path": entry.path,
                        "why": str(entry.category),
                        "action": entry.action.value,
                    }
                    for entry in exported.scrubbed
                ]
            ),
            "bind_mounts": format_columns.ListColumn(
                list(exported.bind_mounts)
            ),
            "sockets": packed.sockets,
            "changed_files": columns.Sentences(list(packed.changed)),
        }
        left = wording.counted(len(exported.scrubbed), "path")
        self.summary = (
            f"{exported.name}: {wording.size(packed.size)} exported to"
            f" {exported.destination}, {left} scrubbed"
        )
        if exported.bind_mounts:
            mounts = wording.counted(len(exported.bind_mounts), "bind mount")
            self.next_step = f"{mounts} not exported, this is no backup"
        return tuple(fields), tuple(fields.values())


class MachineImport(base.ShowOne):
    """Make a new machine from an image or an archive.

    The source is an image as for machine export, a file, or a file at an
    http or https URL. It is verified before anything is unpacked, and the
    machine appears when it is complete. An image can be pinned with
    @sha256:...; a file requires --checksum, a SHA256SUMS with a detached
    signature beside it (--keyring, --signer), or --no-verify.

    Members that would leave the root, devices, and unknown programs with
    privileges are refused. The content of /dev is left out. An LXC container
    must already be defined.

    Exit status: 0 if the machine was made, 2 if nothing was changed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_name(parser)
        arguments.add_store_option(parser)
        arguments.add_source_options(parser)
        parser.add_argument(
            "--read-only",
            action="store_true",
            help="Mark the root read-only, for example as a base of clones",
        )
        options.add_registry_options(parser)
        options.add_policy_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client.machine import images

        with self.observing() as observer:
            imported = images.import_machine(
                parsed_args.name,
                arguments.source(parsed_args),
                observer,
                store=parsed_args.store,
                read_only=parsed_args.read_only,
            )
        unpacked = imported.unpacked
        fields = {
            "name": imported.root.name,
            "source": imported.source,
            "digest": imported.digest,
            "verified_by": imported.verified_by,
            "kind": str(imported.root.kind),
            "path": str(imported.root.path),
            "members": unpacked.members,
            "size": columns.Size(unpacked.size),
            "devices_left_out": unpacked.devices,
            "privileged": format_columns.ListColumn(list(unpacked.privileged)),
        }
        self.report = {
            **fields,
            "size": unpacked.size,
            "privileged": unpacked.privileged,
        }
        self.summary = (
            f"{imported.root.name}: {wording.size(unpacked.size)} imported to"
            f" {imported.root.path}, verified by {imported.verified_by},"
        )
        return tuple(fields), tuple(fields.values())


class MachineCache(base.ShowOne):
    """Make an image the base of new LXC containers.

    The image is stored in the cache of lxc-create -t download, by its
    distribution, release and architecture, for example in
    /var/cache/lxc/download/debian/12/amd64/default. $LXC_CACHE_PATH selects
    another cache, as for LXC. The source is verified and checked as by
    machine import. Each new container gets its own identity.

    Exit status: 0 if the cache has the image, 2 if it was not changed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_source_options(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client.machine import images

        with self.observing() as observer:
            cached, is_present = images.fill_cache(
                arguments.source(parsed_args), observer
            )
        state = "present" if is_present else "filled"
        fields = {
            "source": redaction.masked(parsed_args.source),
            "digest": cached.digest,
            "state": state,
            "path": str(cached.path),
            "size": columns.Size(cached.size),
        }
        self.report = {**fields, "size": cached.size}
        self.summary = f"{cached.path}: {state},"
        return tuple(fields), tuple(fields.values())


class MachinePublish(base.Lister):
    """Publish archives in a directory that a web server serves.

    machinectl pull-tar and machine import can verify the archives with
    SHA256SUMS and its detached signature, SHA256SUMS.gpg. The archives are
    copied first; then the list and the signature are replaced in one step.
    Files that are already in the list remain in it.

    Exit status: 0 if all archives were published, 2 if nothing was changed.
    """

    columns = ("File", "SHA-256", "Size")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "files", metavar="<file>", nargs="+", help="Archive to publish"
        )
        parser.add_argument(
            "--directory",
            metavar="<directory>",
            required=True,
            help="Directory to publish in",
        )
        parser.add_argument(
            "--sign",
            metavar="<key>",
            default="",
            help="Key of the user's gpg with which to sign the list",
        )
        parser.add_argument(
            "--best-before",
            metavar="<YYYY-MM-DD>",
            type=_date,
            help="Last day on which the list may be used (default: the date"
            " that it has, if any)",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.machine import images

        published = images.publish(
            [pathlib.Path(file).absolute() for file in parsed_args.files],
            pathlib.Path(parsed_args.directory).absolute(),
            key=parsed_args.sign,
            best_before=parsed_args.best_before,
        )
        self.report = {"files": list(map(dataclasses.asdict, published))}
        files = wording.counted(len(published), "file")
        signed = "signed" if parsed_args.sign else "without a signature"
        self.summary = f"{parsed_args.directory}: {files} published, {signed},"
        return self.columns, [
            (
                file.name,
                columns.Digest(f"sha256:{file.sha256}"),
                columns.Size(file.size),
            )
            for file in published
        ]


def _date(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no date such as 2027-01-31"
        ) from None
