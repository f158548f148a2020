"""``image-prepare machine list`` and ``show``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from osc_lib.cli import format_columns

from imageprep_client.cli import base, columns
from imageprep_client.cli.commands.machine import arguments


class MachineList(base.Lister):
    """List the machines of this host.

    These are the LXC containers, and the directories and subvolumes in
    /var/lib/machines. Containers with roots on LVM or ZFS are not listed.
    """

    columns = (
        *("Name", "Service", "Kind", "State", "Read Only", "Created"),
        "Versions",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_store_option(parser)
        parser.add_argument(
            "--long",
            action="store_true",
            help="Also show sizes and paths; this reads the attributes of all"
            " files",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import machine
        from imageprep_client.client.machine import changes

        names: Sequence[str] = self.columns
        if parsed_args.long:
            names = (*names, "Size", "Path")
        rows = []
        for root in machine.list_roots(parsed_args.store):
            row: tuple[Any, ...] = (
                root.name,
                machine.service(root.name),
                str(root.kind),
                root.state(),
                root.is_read_only(),
                columns.Age(root.created()),
                format_columns.ListColumn(
                    [kept.version for kept in changes.kept(root)]
                ),
            )
            if parsed_args.long:
                row = (*row, columns.Size(root.size()), str(root.path))
            rows.append(row)
        return names, rows


class MachineShow(base.ShowOne):
    """Show a machine, its root and its mounts.

    An export does not contain bind mounts and is therefore not a backup.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_name(parser)
        arguments.add_store_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client import machine
        from imageprep_client.client.machine import changes

        root = machine.find(parsed_args.name, parsed_args.store)
        kept = changes.kept(root)
        fields = {
            "name": root.name,
            "service": machine.service(root.name),
            "kind": str(root.kind),
            "state": root.state(),
            "read_only": root.is_read_only(),
            "created": root.created(),
            "size": columns.Size(root.size()),
            "path": str(root.path),
            "lower_path": str(root.lower or ""),
            "settings": str(root.settings or ""),
            "bind_mounts": format_columns.ListColumn(root.bind_mounts),
            "networks": columns.Rows(root.networks),
            "versions": format_columns.ListColumn(
                [version.version for version in kept]
            ),
        }
        return tuple(fields), tuple(fields.values())
