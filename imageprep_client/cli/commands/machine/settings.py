"""``image-prepare machine settings``: files for systemd-nspawn."""

from __future__ import annotations

import argparse

from imageprep_client.cli import base, options, report
from imageprep_client.cli.commands.machine import arguments


class MachineSettings(base.Command):
    """Print or write the systemd-nspawn settings of a machine.

    The settings are derived from a declaration in YAML, which has MACVLAN
    networks, bind mounts, an init or one application, environment variables
    and resource limits. A setting that the version of systemd does not
    support is refused.

    Exit status: 0 if the settings were printed or written, 1 if some of them
    were written, 2 if none was.
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
            help="Version of systemd that will read the settings (default:"
            " the installed version)",
        )
        parser.add_argument(
            "--write",
            action="store_true",
            help="Write the files below /etc/systemd, reload systemd and"
            " enable the unit of the machine",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from imageprep_client.client.machine import settings

        rendered = settings.render(
            parsed_args.name, parsed_args.settings, parsed_args.systemd
        )
        written: list[str] = []
        if parsed_args.write:
            written = settings.write(rendered)
            self.summary = f"{parsed_args.name}: {', '.join(written)} written"
            self.next_step = (
                f"next: systemctl start {rendered.unit}, or restart"
            )
        else:
            for path, text in rendered.paths(settings.SYSTEMD):
                if text:
                    self.write(f"# {path}\n{text}\n")
        self.report = {
            "name": parsed_args.name,
            "unit": rendered.unit,
            "written": written,
        }
        return 0
