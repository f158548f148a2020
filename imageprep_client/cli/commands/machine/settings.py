"""``image-prepare machine settings``: files for systemd-nspawn."""

from __future__ import annotations

import argparse

from imageprep_client.cli import base, options
from imageprep_client.cli.commands.machine import arguments


class MachineSettings(base.Command):
    """Print the settings of a machine for systemd-nspawn, or write them.

    They are made from a declaration in YAML: MACVLAN networks, bind mounts,
    an init or one application, environment and resource limits. A setting
    that the version of systemd does not know is refused.

    Exit status: 0 when all is printed or written, 2 when nothing is.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_name(parser)
        parser.add_argument(
            "--settings",
            metavar="<file>",
            required=True,
            help="Declaration of the settings",
        )
        parser.add_argument(
            "--systemd",
            metavar="<version>",
            type=options.positive,
            help="Version of systemd that will read them (default: the"
            " installed one)",
        )
        parser.add_argument(
            "--write",
            action="store_true",
            help="Write below /etc/systemd, let systemd read its files again"
            " and enable the machine's unit",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from imageprep_client.client import machine_settings

        rendered = machine_settings.render(
            parsed_args.name, parsed_args.settings, parsed_args.systemd
        )
        if parsed_args.write:
            written = machine_settings.write(rendered)
            self.summary = f"{parsed_args.name}: {', '.join(written)} written"
            self.next_step = (
                f"next: systemctl start {rendered.unit}, or restart"
            )
            return 0
        for path, text in rendered.paths(machine_settings.SYSTEMD):
            if text:
                self.write(f"# {path}\n{text}\n")
        return 0
