"""``image-prepare image``: what a registry or a tree holds."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from osc_lib.cli import format_columns
from osc_lib.i18n import _

from imageprep_client import errors
from imageprep_client.cli import base, options, progress

if TYPE_CHECKING:
    from imageprep_client.client.registries import Registries


def _add_options(parser: argparse.ArgumentParser) -> None:
    options.add_place_options(parser)
    options.add_login_options(parser)
    options.add_registry_options(parser)


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image",
        metavar="<image>",
        help=_(
            "Image, [<registry>/]<repository>[:<tag>][@<digest>]; the tag is"
            " latest when it names neither"
        ),
    )


def _registries(parsed_args: argparse.Namespace) -> Registries:
    from imageprep_client.client.registries import Registries

    return Registries(options.registry_options(parsed_args))


class ImageList(base.Lister):
    """List the images of a registry or a tree.

    All repositories and tags, sorted. Many public registries do not tell
    what they have.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        with progress.Progress() as observer:
            names = _registries(parsed_args).list_images(
                parsed_args.registry_url,
                credential=options.credential(parsed_args),
                observer=observer,
            )
        return ("Image Name",), [(name,) for name in names]


class ImageShow(base.ShowOne):
    """Show one image of a registry or a tree, as JSON by default.

    Of an image for several platforms, labels and layers are those for this
    host's, and the size is that of all. Sizes are in bytes, as stored.
    """

    @property
    def formatter_default(self) -> str:
        return "json"

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_image(parser)
        _add_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Sequence[Any]]:
        with progress.Progress() as observer:
            found = _registries(parsed_args).show_image(
                parsed_args.image,
                parsed_args.registry_url,
                credential=options.credential(parsed_args),
                observer=observer,
            )
        columns = {
            "Name": found.name,
            "Tag": found.tag,
            "Digest": found.digest,
            "MediaType": found.media_type,
            "Created": errors.printable(found.created),
            "Architecture": errors.printable(found.architecture),
            "Os": errors.printable(found.os),
            "Platforms": format_columns.ListColumn(
                [errors.printable(platform) for platform in found.platforms]
            ),
            "Labels": format_columns.DictColumn(
                {
                    errors.printable(key): errors.printable(value)
                    for key, value in found.labels.items()
                }
            ),
            "Layers": format_columns.ListDictColumn(
                [dataclasses.asdict(layer) for layer in found.layers]
            ),
            "RepoTags": format_columns.ListColumn(list(found.tags)),
            "Size": found.size,
        }
        return tuple(columns), tuple(columns.values())


class ImageDelete(base.Command):
    """Delete one image from a registry or a tree.

    The tag is removed, and the manifest when no other tag and no index
    names it. A registry that cannot remove a tag alone is left as it is
    when the manifest has other tags; name the image by its digest to delete
    the manifest with all of them.

    In a tree everything that only this image needed is deleted with it. A
    registry does that by itself, when its garbage is collected.
    """

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_image(parser)
        parser.add_argument(
            "-y",
            "--yes",
            action="store_true",
            help=_("Do not ask for confirmation"),
        )
        _add_options(parser)
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        if not parsed_args.yes:
            _confirm(parsed_args.image)
        with progress.Progress() as observer:
            removed = _registries(parsed_args).delete_image(
                parsed_args.image,
                parsed_args.registry_url,
                credential=options.credential(parsed_args),
                observer=observer,
            )
        if removed.still:
            still = ", ".join(removed.still)
            self.write(
                f"{parsed_args.image}: tag removed; the image is still"
                f" needed by {still}\n"
            )
            return
        tags = ", ".join(removed.tags) or "none"
        self.write(
            f"{parsed_args.image}: deleted; tags: {tags}; manifests:"
            f" {removed.manifests}; blobs: {removed.blobs}\n"
        )


def _confirm(image: str) -> None:
    """Ask whoever sits there.

    :raises InvalidArgument: when nobody does, or does not say yes.
    """
    if not sys.stdin.isatty():
        raise errors.InvalidArgument(
            f"{errors.printable(image)}: not deleted: nobody can be asked",
            hint="confirm it with --yes",
        )
    sys.stderr.write(f"Delete {errors.printable(image)}? [y/N] ")
    sys.stderr.flush()
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise errors.InvalidArgument(
            f"{errors.printable(image)}: not deleted: not confirmed"
        )
