"""Images in local storage and in layouts, as values."""

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
    :raises LocalStorageError: when there is not exactly one such image.
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
    """Make a layout at `path` with one image of `layout` tagged `tag`.

    :param reference: the tag or digest in the index of `layout`.
    :raises LocalStorageError: when there is not exactly one such image.
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
    """The entry of an image in the index of a layout."""
    try:
        index = json.loads((layout / "index.json").read_bytes())
        entry: dict[str, Any]
        (entry,) = (
            image
            for image in index["manifests"]
            if reference
            in (
                image["digest"],
                (image.get("annotations") or {}).get(_REF_NAME),
            )
        )
    except (OSError, ValueError, KeyError) as error:
        raise errors.LocalStorageError(
            f"{layout}: no image {reference} in this layout: {error}"
        ) from None
    return entry
