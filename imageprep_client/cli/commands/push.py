"""``image-prepare push``: one image to a registry or a tree."""

from __future__ import annotations

import argparse

from imageprep_client.cli import base, options, output, report


class Push(base.Lister):
    """Copy one image to a registry or a tree.

    The image is in a registry or, with --local, in the local storage of
    buildah and podman. The copy has the repository and the tag of the image,
    below the destination. What is there already is not copied again.

    Exit status: 0 when the image is in place, 1 when something failed after
    copying had begun, or --cleanup failed, 2 when nothing was changed.
    """

    columns = output.COPIES

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "image",
            metavar="<image>",
            help="Image to copy, [<registry>/]<repository>[:<tag>][@<digest>];"
            " of docker.io when it names no registry, and the tag is"
            " latest when it names none. With a digest that is what is"
            " copied, and given the tag. With --local, or in front of it"
            " containers-storage:, a name in local storage",
        )
        parser.add_argument(
            "--local",
            action="store_true",
            help="Take the image from local storage",
        )
        options.add_place_options(parser)
        parser.add_argument(
            "--append-tag",
            metavar="<text>",
            default="",
            help="Text to add to the tag at the destination",
        )
        options.add_login_options(parser, of="the destination")
        options.add_login_options(parser, "source-", of="the source")
        _add_copying(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import images

        request = images.PushRequest(
            image=parsed_args.image,
            registry_url=parsed_args.registry_url,
            append_tag=parsed_args.append_tag,
            multi_arch=parsed_args.multi_arch,
            referrers=images.ReferrersPolicy(parsed_args.referrers),
            nondistributable=parsed_args.nondistributable,
            dry_run=parsed_args.dry_run,
            local=parsed_args.local,
            cleanup=parsed_args.cleanup,
            image_timeout=parsed_args.image_timeout,
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
            self.next_step = f"it is at {row.destination}"
        return output.copies([row])


def _add_copying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--multi-arch",
        action="store_true",
        help="Copy every platform of an image that has several; by default"
        " the one of this host is copied",
    )
    options.add_image_timeout_option(parser)
    options.add_referrers_options(parser)
    options.add_nondistributable_option(parser)
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Show what would be copied and how many bytes would move, and"
        " copy nothing; both registries are asked, so passwords are"
        " tried",
    )
    parser.add_argument(
        "--cleanup",
        action="store_true",
        help="With --local: remove the name from local storage when the image"
        " is in place, and the image with its last name. Without: nothing,"
        " as copying from registry to registry leaves nothing behind",
    )
