"""``image-prepare push``: one image to a registry or a tree."""

from __future__ import annotations

import argparse

from imageprep_client.cli import base, options, output, report


class Push(base.Lister):
    """Copy one image to a registry or a tree.

    The source is a registry or, with --local, the local storage of buildah
    and podman. The copy keeps the repository and the tag of the image, below
    the destination. Content that is present already is not copied again.

    Exit status: 0 if the image is in place, 1 if a failure occurred after
    something was stored, or --cleanup failed, 2 if nothing was changed.
    """

    columns = output.COPIES

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "image",
            metavar="<image>",
            help="Image to copy,"
            " [<registry>/]<repository>[:<tag>][@<digest>]; the default"
            " registry is docker.io and the default tag is latest. With a"
            " digest, that manifest is copied and gets the tag. With --local,"
            " or the prefix containers-storage:, a name in local storage",
        )
        parser.add_argument(
            "--local",
            action="store_true",
            help="Read the image from local storage",
        )
        options.add_place_options(parser, writes=True)
        parser.add_argument(
            "--append-tag",
            metavar="<text>",
            default="",
            help="Text to append to the tag at the destination",
        )
        options.add_login_options(parser, of="the destination")
        options.add_login_options(parser, "source-", of="the source")
        _add_copying(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import images

        request = options.request(
            images.PushRequest,
            parsed_args,
            referrers=images.ReferrersPolicy(parsed_args.referrers),
            source_credential=options.credential(parsed_args, "source-"),
            credential=options.credential(parsed_args),
        )
        with self.observing() as observer:
            row = images.ContainerImages(
                options.registry_options(parsed_args)
            ).push_image(request, observer)
        self.report = images.copies_report([row], dry_run=parsed_args.dry_run)
        self.summary = output.summary([row], dry_run=parsed_args.dry_run)
        if not parsed_args.dry_run:
            self.next_step = f"the copy is {row.destination}"
        return output.copies([row])


def _add_copying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--multi-arch",
        action="store_true",
        help="Copy all platforms of a multi-platform image (default: only the"
        " platform of this host)",
    )
    options.add_image_timeout_option(parser)
    options.add_referrers_options(parser)
    options.add_nondistributable_option(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Show what would be copied and how many bytes would be"
        " transferred, and copy nothing; both registries are contacted, so"
        " passwords are checked",
    )
    parser.add_argument(
        "--cleanup",
        action="store_true",
        help="With --local: remove the name from local storage when the image"
        " is in place, and the image with its last name. Without --local this"
        " has no effect, as a copy between registries leaves nothing behind",
    )
