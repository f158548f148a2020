"""What the program tells of images, as values."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors

_REF_NAME = "org.opencontainers.image.ref.name"


@dataclasses.dataclass(frozen=True, slots=True)
class ListedImage:
    """An image in a list.

    :ivar id: digest of its config, 64 hexadecimal digits.
    :ivar digest: of its manifest, with the algorithm.
    :ivar names: in full, such as ``localhost/nova:latest``; may be empty.
    :ivar size: as buildah writes it, such as ``4.06 MB``.
    """

    id: str
    digest: str
    names: tuple[str, ...]
    size: str


@dataclasses.dataclass(frozen=True, slots=True)
class LocalImage:
    """An image in local storage.

    :ivar id: digest of its config, 64 hexadecimal digits.
    :ivar digest: of its manifest, or of the index that it was pulled by.
    :ivar names: in full, such as ``localhost/nova:latest``; may be empty.
    :ivar user: who its processes run as; empty for root.
    :ivar diff_ids: digests of its uncompressed layers, the lowest first.
    :ivar manifest, config: as they are stored, byte for byte.
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
    """What `buildah inspect` told of an image; without its names.

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
    """The ID that an image of a layout has in local storage.

    :param reference: the tag or digest in the index of the layout.
    :returns: empty when that is no image but an index of some.
    :raises LocalStorageError: when there is no such image, or two.
    """
    algorithm, _, digest = _entry(layout, reference)["digest"].partition(":")
    path = layout / "blobs" / algorithm / digest
    try:
        config = json.loads(path.read_bytes()).get("config") or {}
    except (OSError, ValueError) as error:
        raise errors.LocalStorageError(
            f"{layout}: no image {reference} in this layout: {error}"
        ) from None
    return str(config.get("digest", "")).removeprefix("sha256:")


def link(layout: Path, reference: str, path: Path, tag: str) -> None:
    """Make a layout at `path` with one image of `layout`, called `tag`.

    :param reference: the tag or digest in the index of `layout`.
    :raises LocalStorageError: when there is no such image, or two.
    """
    entry = _entry(layout, reference)
    entry["annotations"] = {_REF_NAME: tag}
    path.mkdir()
    (path / "blobs").symlink_to((layout / "blobs").resolve())
    (path / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (path / "index.json").write_text(
        json.dumps({"schemaVersion": 2, "manifests": [entry]})
    )


def _entry(layout: Path, reference: str) -> dict[str, Any]:
    """What the index of a layout says of an image."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        entry: dict[str, Any]
        (entry,) = (
            each
            for each in index["manifests"]
            if reference
            in (
                each["digest"],
                (each.get("annotations") or {}).get(_REF_NAME),
            )
        )
    except (OSError, ValueError, KeyError) as error:
        raise errors.LocalStorageError(
            f"{layout}: no image {reference} in this layout: {error}"
        ) from None
    return entry
