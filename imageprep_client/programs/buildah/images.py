"""Images in local storage and in layouts, as values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import layout as layouts
from imageprep_client.oci.descriptor import Descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class ListedImage:
    """An image in the list of `buildah images`.

    :ivar id: the digest of the config, 64 hexadecimal digits.
    :ivar digest: the digest of the manifest, with the algorithm.
    :ivar names: full names, such as ``localhost/nova:latest``; may be empty.
    :ivar size: in the notation of buildah, such as ``4.06 MB``.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    size: str


@dataclasses.dataclass(frozen=True, slots=True)
class LocalImage:
    """An image in local storage.

    :ivar id: the digest of the config, 64 hexadecimal digits.
    :ivar digest: the digest of the manifest, or of the index that was pulled.
    :ivar names: full names, such as ``localhost/nova:latest``; may be empty.
    :ivar user: the default user; empty for root.
    :ivar diff_ids: the digests of the uncompressed layers, the lowest first.
    :ivar manifest, config: the stored bytes.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    labels: Mapping[str, str]
    architecture: str
    os: str
    user: str
    diff_ids: tuple[str, ...]
    manifest: bytes = dataclasses.field(repr=False)
    config: bytes = dataclasses.field(repr=False)


def inspected(name: str, document: Any) -> LocalImage:
    """Parse the output of `buildah inspect`, which has no names.

    :raises LocalStorageError: when a part is missing.
    """
    try:
        image = document["OCIv1"]
        config = image.get("config") or {}
        return LocalImage(
            id=document["FromImageID"],
            digest=document["FromImageDigest"],
            names=(),
            labels=dict(config.get("Labels") or {}),
            architecture=image["architecture"],
            os=image["os"],
            user=config.get("User") or "",
            diff_ids=tuple(image["rootfs"]["diff_ids"] or ()),
            manifest=document["Manifest"].encode(),
            config=document["Config"].encode(),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise errors.LocalStorageError(
            f"{name}: buildah inspect: no {error} in its answer"
        ) from None


def image_id(layout: Path, reference: str) -> str:
    """The ID in local storage of an image of a layout.

    :param reference: the tag or digest in the index of the layout.
    :returns: empty if the reference is an index of images.
    :raises LocalStorageError: when there is no such image.
    """
    algorithm, _, digest = _find(layout, reference).digest.partition(":")
    path = layout / "blobs" / algorithm / digest
    try:
        config = json.loads(path.read_bytes()).get("config") or {}
    except (OSError, ValueError) as error:
        raise _missing(layout, reference, error) from None
    return str(config.get("digest", "")).removeprefix("sha256:")


def link(layout: Path, reference: str, path: Path, tag: str) -> None:
    """Make a layout at `path` with one image of `layout` tagged `tag`.

    :param reference: the tag or digest in the index of `layout`.
    :raises LocalStorageError: when there is no such image.
    """
    index = layouts.Index.empty()
    index.add(_find(layout, reference), tag)
    path.mkdir()
    (path / "blobs").symlink_to((layout / "blobs").resolve())
    (path / layouts.LAYOUT).write_bytes(layouts.LAYOUT_CONTENT)
    (path / layouts.INDEX).write_bytes(index.render())


def _find(layout: Path, reference: str) -> Descriptor:
    """An image in the index of a layout."""
    path = layout / layouts.INDEX
    try:
        image = layouts.Index.parse(path.read_bytes(), str(path)).find(
            reference
        )
    except (OSError, errors.InvalidContent) as error:
        raise _missing(layout, reference, error) from None
    if image is None:
        raise _missing(layout, reference, "not in its index")
    return image


def _missing(
    layout: Path, reference: str, reason: object
) -> errors.LocalStorageError:
    return errors.LocalStorageError(
        f"{layout}: no image {reference} in this layout: {reason}"
    )
