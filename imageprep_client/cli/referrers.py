"""Options about the artefacts that are attached to images."""

from __future__ import annotations

import argparse

from osc_lib.i18n import _


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options about what is attached to an image."""
    referrers = parser.add_mutually_exclusive_group()
    referrers.add_argument(
        "--referrers",
        choices=("copy", "require"),
        default="copy",
        help=_(
            "Signatures, attestations and other artefacts that are attached"
            " to images: copy: copy those that can be had and name the"
            " others (default); require: an artefact that cannot be had"
            " fails its image"
        ),
    )
    referrers.add_argument(
        "--no-referrers",
        action="store_const",
        const="leave",
        dest="referrers",
        help=_(
            "Leave signatures, attestations and other artefacts that are"
            " attached to images behind"
        ),
    )
