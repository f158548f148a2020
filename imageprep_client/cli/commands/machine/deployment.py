"""``image-prepare machine archive`` and ``preload``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imageprep_client import errors, wording
from imageprep_client.cli import base, columns, options, report

if TYPE_CHECKING:
    from imageprep_client.client.machine.deployment import (
        DeploymentRequest,
        MachineRow,
    )

_CACHE_COLUMNS = ("Host", "Image", "State", "Digest", "Path", "Detail")
_FIELDS = "{service}, {release}, {distro} and {arch}"


class _Deployment(base.Lister):
    """The options and the table of commands about whole deployments."""

    columns: Sequence[str] = (
        *("Container", "Host", "Service", "Image", "State", "Digest"),
        "Detail",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--inventory",
            metavar="<inventory>",
            required=True,
            help="Inventory of the deployment: openstack_inventory.json, or a"
            " file, a directory or a program for ansible",
        )
        parser.add_argument(
            "--hosts",
            metavar="<pattern>",
            help="Ansible host pattern that selects containers, or hosts with"
            " all their containers",
        )
        parser.add_argument(
            "--release",
            metavar="<release>",
            help="Value of {release} in the names of images",
        )
        report.add_option(parser)

    def request(
        self, parsed_args: argparse.Namespace, template: str
    ) -> DeploymentRequest:
        """The request of a command line."""
        from imageprep_client.client.machine import deployment

        return options.request(
            deployment.DeploymentRequest, parsed_args, template=template
        )

    def table(
        self, rows: Sequence[MachineRow], noun: str = "container"
    ) -> base.Table:
        """The result, which is also that of the report."""
        fields = [
            "name" if c == "Container" else c.lower() for c in self.columns
        ]
        told = [
            {field: str(getattr(row, field)) for field in fields}
            for row in rows
        ]
        self.report = {f"{noun}s": told}
        self.failing = noun
        failed = [row for row in rows if row.state.is_failed]
        if failed:
            began = any(row.asked for row in rows)
            kind = errors.PartialFailure if began else errors.CombinedFailure
            self.failure = kind(
                f"{len(failed)} of {len(rows)} {noun}s failed",
                [
                    errors.StoreError(f"{row.key}: {row.detail}")
                    for row in failed
                ],
            )
            self.next_step = "the next call does what is missing"
        counts = wording.tally(row.state for row in rows)
        self.summary = f"{wording.counted(len(rows), noun)}: {counts}"
        return self.columns, [
            tuple(
                columns.Digest(text) if field == "digest" else text
                for field, text in row.items()
            )
            for row in told
        ]


class MachineArchive(_Deployment):
    """Export an image of each service of a deployment.

    The containers are the hosts of the inventory that have the variables
    physical_host and component, as in OpenStack-Ansible. The host of a
    running container of each service exports it as machine export does,
    without identity and secrets. Existing images are skipped.

    The hosts need this command and their own access to registries. Host
    variables adapt the call: image_prepare_command is another way to call
    the command, image_prepare_options are further options of machine export,
    image_prepare_export_options are options that only machine export has,
    and image_prepare_store is the lxcpath.

    Exit status: 0 if all services have an image, 1 if a service has none, 2
    if nothing was changed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--to",
            metavar="<template>",
            dest="destination",
            required=True,
            help="Image or archive of a service, as for machine export, with"
            f" the fields {_FIELDS}; paths refer to files of the host",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.machine import deployment

        request = self.request(parsed_args, parsed_args.destination)
        with self.observing() as observer:
            rows = deployment.archive(
                request, lambda row: observer.note(_told(row))
            )
        return self.table(rows)


class MachinePreload(_Deployment):
    """Replace the roots of the containers of a deployment by images.

    The containers are those of machine archive. Each host fetches an image
    once and replaces the containers of its service one after the other, as
    machine replace does; a container that does not become healthy gets its
    old root back. Containers that already have their image are skipped. The
    hosts work concurrently.

    With --cache-only, before any container exists, each host stores one base
    image from which lxc-create makes containers, as machine cache does.

    The hosts need this command and their own access to registries. Host
    variables adapt the call: image_prepare_command is another way to call
    the command, image_prepare_options are further options of machine replace
    and machine cache, image_prepare_replace_options and
    image_prepare_cache_options are options that only one of them has, and
    image_prepare_store is the lxcpath.

    Exit status: 0 if all containers or hosts have their images, 1 if one does
    not, 2 if nothing was changed.
    """

    def run(self, parsed_args: argparse.Namespace) -> int:
        if parsed_args.cache_only:
            self.columns = _CACHE_COLUMNS
        return super().run(parsed_args)

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--from",
            metavar="<template>",
            dest="template",
            required=True,
            help="Image or archive of a service, as for machine replace, with"
            f" the fields {_FIELDS}",
        )
        parser.add_argument(
            "--cache-only",
            action="store_true",
            help="Replace nothing, and store one base image in the LXC cache"
            " of each host; its name has no {service}",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.machine import deployment

        request = self.request(parsed_args, parsed_args.template)
        with self.observing() as observer:
            if parsed_args.cache_only:
                rows = deployment.preload_caches(
                    request, lambda row: observer.note(_cached(row))
                )
                return self.table(rows, "host")
            rows = deployment.preload(
                request, lambda row: observer.note(_told(row))
            )
        return self.table(rows)


def _told(row: MachineRow) -> str:
    detail = f": {row.detail}" if row.detail else ""
    return f"{row.name} on {row.host}: {row.state}{detail}"


def _cached(row: MachineRow) -> str:
    return f"{row.host}: {row.state}: {row.detail or row.path}"
