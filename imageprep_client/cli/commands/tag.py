"""``image-prepare tag``: the versioned tag behind a tag."""

from __future__ import annotations

import argparse

from imageprep_client.cli import base, options, predecessor, progress


class TagDiscover(base.ShowOne):
    """Print the versioned tag of the image behind a tag.

    The tag is the value of a label of the image, or a combination of several
    labels, and exists in the repository. By default only the tag is printed.
    """

    replaced = predecessor.TAG

    @property
    def formatter_default(self) -> str:
        return "value"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--image",
            metavar="<image>",
            required=True,
            help="Image with its tag, <registry>/<repository>:<tag>",
        )
        parser.add_argument(
            "--tag-from-label",
            metavar="<label>",
            help="Label whose value is the tag, or a template of several"
            " labels such as {version}-{release} (default: list the"
            " labels of the image and fail)",
        )
        options.add_tree_option(parser)
        options.add_registry_options(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client.images import ContainerImages

        with progress.Progress() as observer:
            tag = ContainerImages(
                options.registry_options(parsed_args)
            ).discover_tag(
                parsed_args.image, parsed_args.tag_from_label, observer
            )
        return ("Tag",), (tag,)
