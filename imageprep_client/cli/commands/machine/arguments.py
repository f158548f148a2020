"""Arguments that several machine commands share."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from imageprep_client.cli import options

if TYPE_CHECKING:
    from imageprep_client.client.machine.sources import MachineSource


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a machine."""
    parser.add_argument("name", metavar="<name>", help="Name of the machine")


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that selects the location of the machines."""
    parser.add_argument(
        "--store",
        metavar="lxc|machines|<directory>",
        help="Location of the machines: the containers of LXC, the machines"
        " in /var/lib/machines, or the path of another lxcpath or directory"
        " of machines (default: the first two)",
    )


def add_source_options(
    parser: argparse.ArgumentParser, text: str = "Image or archive to use"
) -> None:
    """Add the options for the source of a root and its verification.

    :param text: the help of ``--from``.
    """
    parser.add_argument(
        "--from", metavar="<source>", required=True, dest="source", help=text
    )
    parser.add_argument(
        "--checksum",
        metavar="<sha256>",
        default="",
        help="Expected SHA-256 of the archive",
    )
    parser.add_argument(
        "--keyring",
        metavar="<file>",
        default="",
        help="File with public keys. SHA256SUMS beside the archive must have"
        " a detached signature by a --signer",
    )
    parser.add_argument(
        "--signer",
        metavar="<fingerprint>",
        action="append",
        dest="signers",
        help="Fingerprint of a key that may sign the list (repeatable)",
    )
    parser.add_argument(
        "--no-verify",
        action="store_true",
        help="Use an archive without verifying it",
    )
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="Accept a signed SHA256SUMS even if a newer one was seen before"
        " or its BEST-BEFORE date has passed",
    )
    parser.add_argument(
        "--max-size",
        metavar="<GiB>",
        type=options.positive,
        default=64,
        help="Maximum size of the archive (default: %(default)s); its files"
        " may be four times as large",
    )
    parser.add_argument(
        "--allow-privileged",
        metavar="<path>",
        action="append",
        dest="privileged",
        help="Program in the root, such as opt/x/helper, that may have set-id"
        " bits or capabilities, in addition to those that distributions ship"
        " (repeatable)",
    )


def source(parsed_args: argparse.Namespace) -> MachineSource:
    """The values of `add_source_options` and of the registry options."""
    from imageprep_client.client.machine import sources

    return sources.MachineSource(
        parsed_args.source,
        options.request(
            sources.Verification,
            parsed_args,
            signers=tuple(parsed_args.signers),
            none=parsed_args.no_verify,
        ),
        options.registry_options(parsed_args),
        parsed_args.max_size << 30,
        # As archives have them.
        frozenset(path.lstrip("./") for path in parsed_args.privileged),
    )
