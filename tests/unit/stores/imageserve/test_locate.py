"""Finding blobs anywhere in a tree."""

from __future__ import annotations

from pathlib import Path

from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from tests.trees import OnDisk

BLOB = content.blob("b")


def test_blob_of_another_repository(tmp_path: Path) -> None:
    """The repository that has the blob is named, by this run or before."""
    tree = ImageServeTree(tmp_path)
    store = tree.store("ns/a")
    assert isinstance(store, base.Locates)
    assert store.locate(BLOB.descriptor) is None
    tree.store("ns/deep/b").push(BLOB.descriptor, BLOB.open())
    assert store.locate(BLOB.descriptor) == "ns/deep/b"
    fresh = ImageServeTree(tmp_path).store("ns/a")
    assert fresh.locate(BLOB.descriptor) == "ns/deep/b"


def test_own_blob_first(tmp_path: Path) -> None:
    """A repository that has the blob itself is its own home."""
    tree = ImageServeTree(tmp_path)
    for name in ("a", "b"):
        tree.store(name).push(BLOB.descriptor, BLOB.open())
    assert tree.store("a").locate(BLOB.descriptor) == "a"


def test_broken_blob_does_not_count(tmp_path: Path) -> None:
    """A blob of the wrong size is not there."""
    tree = ImageServeTree(tmp_path)
    store = tree.store("a")
    store.push(BLOB.descriptor, BLOB.open())
    OnDisk(store).blob(BLOB.descriptor.digest).write_bytes(b"short")
    assert tree.store("b").locate(BLOB.descriptor) is None


def test_manifests_are_not_looked_for(tmp_path: Path) -> None:
    """Only blobs are shared."""
    image = content.image("x")
    store = ImageServeTree(tmp_path).store("a")
    for piece in image.pieces:
        store.push(piece.descriptor, piece.open())
    assert store.locate(image.descriptor) is None
