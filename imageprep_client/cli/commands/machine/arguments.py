"""The arguments that several commands about machines have."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from imageprep_client.cli import options

if TYPE_CHECKING:
    from imageprep_client.client.machine_sources import MachineSource


def add_name(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a machine."""
    parser.add_argument("name", metavar="<name>", help="Name of the machine")


def add_store_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that says where roots of machines are."""
    parser.add_argument(
        "--store",
        metavar="lxc|machines|<directory>",
        help="Where roots are: those of LXC, those in /var/lib/machines, or an"
        " lxcpath or directory of machines (default: the first two)",
    )


def add_source_options(
    parser: argparse.ArgumentParser, text: str = "Image or archive to take"
) -> None:
    """Add the options about the source of a root, and what verifies it.

    :param text: the help of ``--from``.
    """
    parser.add_argument(
        "--from",
        metavar="<source>",
        required=True,
        dest="source",
        help=text,
    )
    parser.add_argument(
        "--checksum",
        metavar="<sha256>",
        default="",
        help="SHA-256 that the archive has to have",
    )
    parser.add_argument(
        "--keyring",
        metavar="<file>",
        default="",
        help="Public keys; SHA256SUMS beside the archive has to have a"
        " detached signature of a --signer",
    )
    parser.add_argument(
        "--signer",
        metavar="<fingerprint>",
        action="append",
        dest="signers",
        default=[],
        help="Fingerprint of a key that may sign (repeatable)",
    )
    parser.add_argument(
        "--no-verify",
        action="store_true",
        help="Use an archive although nothing says what it has to be",
    )
    parser.add_argument(
        "--allow-older",
        action="store_true",
        help="Use a signed SHA256SUMS although a newer one was seen, or its"
        " BEST-BEFORE date has passed",
    )
    parser.add_argument(
        "--max-size",
        metavar="<GiB>",
        type=options.positive,
        default=64,
        help="Largest archive that is accepted (default: %(default)s); its"
        " files may have four times as much",
    )
    parser.add_argument(
        "--allow-privileged",
        metavar="<path>",
        action="append",
        dest="privileged",
        default=[],
        help="Program in the root, such as opt/x/helper, that may have set-id"
        " bits or capabilities, beside those of distributions"
        " (repeatable)",
    )


def source(parsed_args: argparse.Namespace) -> MachineSource:
    """The values of `add_source_options`, and about registries."""
    from imageprep_client.client import machine_sources

    return machine_sources.MachineSource(
        parsed_args.source,
        machine_sources.Verification(
            checksum=parsed_args.checksum,
            keyring=parsed_args.keyring,
            signers=tuple(parsed_args.signers),
            none=parsed_args.no_verify,
            allow_older=parsed_args.allow_older,
        ),
        options.registry_options(parsed_args),
        parsed_args.max_size << 30,
        # As archives have them.
        frozenset(path.lstrip("./") for path in parsed_args.privileged),
    )
