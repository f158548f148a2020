"""``image-prepare registry``: commands that serve a tree."""

from __future__ import annotations

import argparse
import os

from imageprep_client.cli import base, report


class _RegistryCommand(base.Command):
    """The options for the tree and the address."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from imageprep_client.client import serving

        parser.add_argument(
            "--image-serve",
            metavar="<directory>",
            default=serving.TREE,
            help="Tree of images (default: %(default)s)",
        )
        parser.add_argument(
            "--listen",
            metavar="<address:port>",
            default=serving.DEFAULT_LISTEN,
            help="Address and port to listen on; * is every address (default:"
            " %(default)s)",
        )


class RegistryConfig(_RegistryCommand):
    """Print the Apache virtual host that serves a tree of images."""

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client import serving

        tree = os.path.abspath(parsed_args.image_serve)
        self.write(serving.virtual_host(tree, parsed_args.listen))


class RegistryServe(_RegistryCommand):
    """Serve a tree of images read-only, until interrupted.

    For development and small sites: the server uses plain HTTP and has no
    access control.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        from imageprep_client.client import serving

        def announce(line: str) -> None:
            self.report = {
                "directory": parsed_args.image_serve,
                "listen": parsed_args.listen,
            }
            self.write(f"{line}\n")

        serving.serve(parsed_args.image_serve, parsed_args.listen, announce)
