"""Trees and layouts alike: blobs are files, which repositories link."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree
from imageprep_client.stores.layout import LayoutRoot, LayoutStore
from imageprep_client.testing import content
from imageprep_client.testing.store_suite import push
from tests.failing import fails
from tests.trees import OnDisk

Store = ImageServeStore | LayoutStore
IMAGE = content.image("image")
BLOB = IMAGE.parts[0]


@pytest.fixture(params=[ImageServeTree, LayoutRoot], ids=["tree", "layout"])
def origin(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """A repository that has the image."""
    found: Store = request.param(tmp_path / "home").store("ns/origin")
    push(found, *IMAGE.pieces)
    return found


@pytest.fixture
def store(origin: Store, tmp_path: Path) -> Store:
    """Another repository of the same place; it has nothing."""
    kind = LayoutRoot if isinstance(origin, LayoutStore) else ImageServeTree
    return kind(tmp_path / "home").store("ns/app")


def path(store: Store) -> Path:
    """The file of the blob."""
    digest = BLOB.descriptor.digest
    if isinstance(store, LayoutStore):
        return store.home / "blobs" / digest.replace(":", "/")
    return OnDisk(store).blob(digest)


def test_one_file(origin: Store, store: Store) -> None:
    """A mounted blob takes no room."""
    assert store.mount(BLOB.descriptor, "ns/origin")
    assert path(store).samefile(path(origin))


def test_manifests_are_not_mounted(store: Store) -> None:
    """A manifest is pushed: other files name it."""
    assert not store.mount(IMAGE.descriptor, "ns/origin")


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM])
def test_impossible_links(
    store: Store, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Where the kernel makes no link the blob is to be copied."""
    monkeypatch.setattr(os, "link", fails(number))
    assert not store.mount(BLOB.descriptor, "ns/origin")


def test_full_disk(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room for a name is no room for the blob."""
    monkeypatch.setattr(os, "link", fails(errno.ENOSPC))
    with pytest.raises(errors.NoSpace):
        store.mount(BLOB.descriptor, "ns/origin")


@pytest.mark.parametrize(
    "plant",
    [os.mkfifo, lambda path: path.symlink_to("elsewhere")],
    ids=["fifo", "link"],
)
def test_planted_blobs(
    origin: Store, store: Store, plant: Callable[[Path], None]
) -> None:
    """A link and a FIFO are no blobs: neither read, waited for, nor linked."""
    path(origin).rename(path(origin).with_name("elsewhere"))
    plant(path(origin))
    assert not origin.exists(BLOB.descriptor)
    with pytest.raises(errors.NotFound):
        origin.fetch(BLOB.descriptor)
    assert not store.mount(BLOB.descriptor, "ns/origin")
    if isinstance(origin, ImageServeStore):
        assert origin.open_blob(BLOB.descriptor.digest) is None
