"""``image-prepare registry``: have a tree served."""

from __future__ import annotations

import argparse

from osc_lib.i18n import _

from imageprep_client.cli import base, report


class _RegistryCommand(base.Command):
    """Knows which tree, and where to listen."""

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        from imageprep_client.client import serving

        parser: argparse.ArgumentParser = super().get_parser(prog_name)
        parser.add_argument(
            "--image-serve",
            metavar="<directory>",
            default=serving.TREE,
            help=_("The tree of images (default: %(default)s)"),
        )
        parser.add_argument(
            "--listen",
            metavar="<address:port>",
            default=serving.DEFAULT_LISTEN,
            help=_(
                "Where to take connections; * is every address"
                " (default: %(default)s)"
            ),
        )
        return parser


class RegistryConfig(_RegistryCommand):
    """Print the Apache virtual host that serves a tree of images."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client import serving

        text = serving.virtual_host(
            parsed_args.image_serve, parsed_args.listen
        )
        self.write(text)


class RegistryServe(_RegistryCommand):
    """Serve a tree of images read-only, until interrupted.

    For development and small sites; it speaks plain HTTP to whoever can
    connect.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        report.add_option(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client import serving

        def announce(line: str) -> None:
            self.report = {
                "directory": parsed_args.image_serve,
                "listen": parsed_args.listen,
            }
            self.write(f"{line}\n")

        serving.serve(parsed_args.image_serve, parsed_args.listen, announce)
