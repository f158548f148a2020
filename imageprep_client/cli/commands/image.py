"""``image-prepare image``: the images of a registry or a tree."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from osc_lib.cli import format_columns

from imageprep_client import errors
from imageprep_client.cli import (
    base,
    columns,
    confirmation,
    options,
    output,
    progress,
    report,
)

if TYPE_CHECKING:
    from imageprep_client.client.registries import Registries


def _add_options(
    parser: argparse.ArgumentParser, *, writes: bool = False
) -> None:
    options.add_place_options(parser, writes=writes)
    options.add_login_options(parser)
    options.add_registry_options(parser)


def _add_image(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "image",
        metavar="<image>",
        help="Image, [<registry>/]<repository>[:<tag>][@<digest>]; the"
        " default tag is latest",
    )


def _registries(parsed_args: argparse.Namespace) -> Registries:
    from imageprep_client.client.registries import Registries

    return Registries(options.registry_options(parsed_args))


def _printable(text: str | None) -> str | None:
    return None if text is None else errors.printable(text)


class ImageList(base.Lister):
    """List the images of a registry or a tree.

    Lists all repositories and tags, sorted. Many public registries provide
    no catalog.

    With --long, the digest, size and age of each image are listed as well,
    which takes two requests per image. The size of a multi-platform image is
    that of all platforms that are present.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--long",
            action="store_true",
            help="Also list digest, size and age",
        )
        parser.add_argument(
            "--all",
            action="store_true",
            help="Also list the tags of signatures, attestations and other"
            " artifacts that are attached to images",
        )
        _add_options(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        with progress.Progress() as observer:
            images = _registries(parsed_args).images(
                parsed_args.registry_url,
                attached=parsed_args.all,
                details=parsed_args.long,
                credential=options.credential(parsed_args),
                observer=observer,
            )
        if not parsed_args.long:
            return ("Image Name",), [(image.name,) for image in images]
        names = output.image_names([image.name for image in images])
        return ("Image Name", "Digest", "Size", "Created"), [
            (
                name,
                columns.Digest(image.digest),
                columns.Size(image.size),
                columns.Age(_printable(image.created)),
            )
            for name, image in zip(names, images, strict=True)
        ]


class ImageShow(base.ShowOne):
    """Show one image of a registry or a tree, as JSON by default.

    For a multi-platform image, labels and layers are those of one Platform:
    that of this host, if it is present. Size covers all platforms that are
    present, SizePlatforms. Sizes are as stored, in bytes unless the format is
    table.
    """

    @property
    def formatter_default(self) -> str:
        return "json"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_image(parser)
        options.add_policy_option(parser)
        _add_options(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        with progress.Progress() as observer:
            details = _registries(parsed_args).show_image(
                parsed_args.image,
                parsed_args.registry_url,
                credential=options.credential(parsed_args),
                observer=observer,
            )
        fields = {
            "Name": details.name,
            "Tag": details.tag,
            "Digest": details.digest,
            "MediaType": details.media_type,
            "Created": _printable(details.created),
            "Architecture": _printable(details.architecture),
            "Os": _printable(details.os),
            "Platforms": format_columns.ListColumn(
                [errors.printable(platform) for platform in details.platforms]
            ),
            "Platform": _printable(details.platform),
            "Labels": format_columns.DictColumn(
                {
                    errors.printable(key): errors.printable(value)
                    for key, value in details.labels.items()
                }
            ),
            "Layers": columns.Rows(
                [dataclasses.asdict(layer) for layer in details.layers]
            ),
            "RepoTags": format_columns.ListColumn(list(details.tags)),
            "Size": columns.Size(details.size),
            "SizePlatforms": format_columns.ListColumn(
                [errors.printable(platform) for platform in details.sized]
            ),
        }
        if details.accepted:
            fields["SignaturePolicy"] = errors.printable(details.accepted)
        return tuple(fields), tuple(fields.values())


class ImageDelete(base.Command):
    """Delete one image from a registry or a tree.

    The tag is removed, and the manifest if no other tag and no index names
    it. A registry that cannot remove a tag alone is left unchanged if the
    manifest has other tags; name the image by its digest to delete the
    manifest with all its tags.

    In a tree, content that only this image used is deleted with it. A
    registry frees it when its garbage is collected.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_image(parser)
        confirmation.add_option(parser)
        _add_options(parser, writes=True)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        image = errors.printable(parsed_args.image)
        registries = _registries(parsed_args)
        if not parsed_args.yes:
            name = registries.name(parsed_args.image, parsed_args.registry_url)
            confirmation.ask(f"Delete {name}", f"{image}: not deleted")
        with self.observing() as observer:
            removed = registries.delete_image(
                parsed_args.image,
                parsed_args.registry_url,
                credential=options.credential(parsed_args),
                observer=observer,
            )
        self.report = {"image": image, **dataclasses.asdict(removed)}
        if removed.still:
            still = ", ".join(removed.still)
            self.summary = (
                f"{image}: tag removed; the image is still needed by {still},"
            )
            return
        tags = ", ".join(removed.tags) or "none"
        self.summary = (
            f"{image}: deleted; tags: {tags}; manifests: {removed.manifests};"
            f" blobs: {removed.blobs},"
        )
