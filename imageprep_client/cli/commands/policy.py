"""``image-prepare policy``: which images are accepted."""

from __future__ import annotations

import argparse

from osc_lib.cli import format_columns

from imageprep_client.cli import base, options


class PolicyShow(base.ShowOne):
    """Show which requirements of the signature policy apply to an image.

    Only the configuration of this host is read; the registry is not
    contacted.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "image",
            metavar="<image>",
            help="Image, [<registry>/]<repository>[:<tag>][@<digest>], as in"
            " an environment or on a command line",
        )
        options.add_policy_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client import policies

        rule = policies.show_rule(
            parsed_args.image, parsed_args.signature_policy
        )
        for path in rule.missing:
            self.log.warning("WARNING: %s: no such file", path)
        columns = {
            "Image": rule.image,
            "Policy": rule.policy or "none",
            "Scope": rule.scope,
            "Requirements": format_columns.ListColumn(list(rule.requirements)),
            "Lookaside": rule.lookaside,
            "Attachments": rule.attachments,
        }
        return tuple(columns), tuple(columns.values())
