"""Trees in the form that tripleo-common left on underclouds."""

from __future__ import annotations

import json
from pathlib import Path

from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.testing import content


def write(tree: Path, repository: str, image: content.Image, tag: str) -> None:
    """Write an image, or an index with its images, and its lists.

    Layers end in ``.gz``, ETags have no quotes, and an index has a variant
    of equal weight for clients that know no indexes.
    """
    home = tree / "v2" / repository
    for piece in image.pieces:
        if piece.descriptor.is_manifest:
            _manifest(home, piece)
        else:
            _blob(home, piece)
    variants = [image.descriptor]
    parsed = manifests.parse(image.manifest.data, image.descriptor.media_type)
    if parsed.is_index:
        variants.append(parsed.manifests[0])
    text = f"URI: {tag}\n\n"
    for variant in variants:
        text += f"Content-Type: {variant.media_type}\n"
        text += f"URI: {variant.digest}/index.json\n\n"
    (home / "manifests" / f"{tag}.type-map").write_text(text)
    (home / "manifests" / ".htaccess").write_text(
        "AddHandler type-map .type-map\nMultiviewsMatch Handlers\n"
    )
    _lists(tree, repository, [tag])


def write_with_link(
    tree: Path, repository: str, image: content.Image, tag: str
) -> None:
    """Write an image whose tag is a link, as before there were type maps."""
    write(tree, repository, image, tag)
    manifests_home = tree / "v2" / repository / "manifests"
    (manifests_home / f"{tag}.type-map").unlink()
    target = manifests_home / image.descriptor.digest
    (manifests_home / tag).symlink_to(target)


def _blob(home: Path, piece: content.Piece) -> None:
    suffix = "" if piece.descriptor.media_type in _CONFIGS else ".gz"
    path = home / "blobs" / f"{piece.descriptor.digest}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(piece.data)


_CONFIGS = frozenset({mediatypes.OCI_CONFIG, mediatypes.DOCKER_CONFIG})


def _manifest(home: Path, piece: content.Piece) -> None:
    digest = piece.descriptor.digest
    path = home / "manifests" / digest
    path.mkdir(parents=True, exist_ok=True)
    (path / ".htaccess").write_text(
        f'Header set Content-Type "{piece.descriptor.media_type}"\n'
        f'Header set Docker-Content-Digest "{digest}"\n'
        f'Header set ETag "{digest}"\n'
    )
    (path / "index.json").write_bytes(piece.data)


def _lists(tree: Path, repository: str, tags: list[str]) -> None:
    root = tree / "v2"
    (root / repository / "tags").mkdir(exist_ok=True)
    (root / repository / "tags" / "list").write_text(
        json.dumps({"name": repository, "tags": tags})
    )
    (root / "index.json").write_text("{}")
    catalog = root / "_catalog"
    known = []
    if catalog.exists():
        known = json.loads(catalog.read_text())["repositories"]
    # Newest first: what is there is in no order.
    catalog.write_text(json.dumps({"repositories": [repository, *known]}))
