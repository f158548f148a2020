"""Errors and messages about the files of a tree."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import locks
from imageprep_client.host.directory import Directory
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree
from imageprep_client.stores.stored_files import KeepsFiles, StoredFile
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests.trees import OnDisk

BLOB = content.blob("blob")


def test_protocol(tree: ImageServeTree) -> None:
    """A tree is a place that keeps files."""
    assert isinstance(tree, KeepsFiles)


def test_nothing_there(tree: ImageServeTree) -> None:
    """Of a tree that is not there nobody has anything."""
    assert tree.repositories_on_disk() == []
    assert tree.lock_owner() == ""
    assert list(tree.stored_files("ns/a").contents()) == []


def test_homes(tree: ImageServeTree) -> None:
    """Repositories below repositories count, and those without a tag."""
    for name in ("ns", "ns/a", "ns/a/b"):
        tree.store(name).push(BLOB.descriptor, BLOB.open())
    (tree.path / "v2/ns/Capital/blobs").mkdir(parents=True)
    (tree.path / "v2/elsewhere").symlink_to(tree.path / "v2/ns")
    assert tree.repositories_on_disk() == ["ns", "ns/a", "ns/a/b"]


BELOW = (
    "ns/app/blobs",
    "ns/app/blobs/blobs",
    "ns/app/manifests",
    "ns/app/manifests/deep/er",
    "ns/app/tags",
    "ns/blobs",
    "ns/manifests",
    "ns/referrers",
    "ns/tags/list",
)


def assert_sound(tree: ImageServeTree, names: list[str]) -> None:
    """These repositories are in the tree, without defects."""
    fresh = ImageServeTree(tree.path)
    assert fresh.repositories_on_disk() == fresh.repositories() == names
    assert list(tree.defects()) == []
    for name in names:
        assert list(tree.stored_files(name).defects()) == []


@pytest.mark.parametrize("names", [BELOW, *((name,) for name in BELOW)])
def test_names_that_are_parts(
    tree: ImageServeTree, store: ImageServeStore, names: tuple[str, ...]
) -> None:
    """The components of a name may be called as the parts are."""
    image = content.image("x")
    wanted = sorted((*names, "ns/app"))
    for name in wanted:
        put(tree.store(name), image, "1")
    assert_sound(tree, wanted)

    store.delete(image.descriptor)
    for stored in tree.stored_files("ns/app").contents():
        tree.stored_files("ns/app").discard(stored)
    tree.stored_files("ns/app").tidy()
    wanted.remove("ns/app")
    assert_sound(tree, wanted)
    for name in wanted:
        assert tree.store(name).holds(image.descriptor)


def test_strays_with_names_of_parts(
    tree: ImageServeTree, store: ImageServeStore
) -> None:
    """A directory that no repository is in is no content."""
    put(store, content.image("x"), "1")
    (OnDisk(store).blobs / "tags").mkdir()
    (OnDisk(store).manifests / "deep/er").mkdir(parents=True)
    assert {d.name for d in tree.stored_files("ns/app").defects()} == {
        "blobs/tags",
        "manifests/deep",
    }


def test_contents(tree: ImageServeTree) -> None:
    """Each file is told with how many share its bytes."""
    tree.store("ns/a").push(BLOB.descriptor, BLOB.open())
    other = tree.store("ns/b")
    other.mount(BLOB.descriptor, "ns/a")
    (stored,) = tree.stored_files("ns/b").contents()
    path = OnDisk(other).blob(BLOB.descriptor.digest)
    status = path.stat()
    assert stored == StoredFile(
        BLOB.descriptor.digest,
        len(BLOB.data),
        False,
        str(path),
        (status.st_dev, status.st_ino),
        2,
    )


def test_contents_of_predecessors(
    tree: ImageServeTree, store: ImageServeStore
) -> None:
    """A layer's ending is no part of its digest."""
    OnDisk(store).blobs.mkdir(parents=True)
    digest = BLOB.descriptor.digest
    (OnDisk(store).blobs / f"{digest}.gz").write_bytes(b"x")
    (stored,) = tree.stored_files("ns/app").contents()
    assert (stored.digest, stored.size) == (digest, 1)


def test_open_what_is_gone(
    tree: ImageServeTree, store: ImageServeStore
) -> None:
    """A file that somebody removed meanwhile is not found."""
    store.push(BLOB.descriptor, BLOB.open())
    (stored,) = tree.stored_files("ns/app").contents()
    os.unlink(stored.path)
    with pytest.raises(errors.NotFound):
        tree.stored_files("ns/app").open(stored)


def test_discard_blob(tree: ImageServeTree, store: ImageServeStore) -> None:
    """A blob that was discarded is not linked to any more."""
    store.push(BLOB.descriptor, BLOB.open())
    (stored,) = tree.stored_files("ns/app").contents()
    tree.stored_files("ns/app").discard(stored)
    assert not store.exists(BLOB.descriptor)
    assert not tree.store("ns/b").mount(BLOB.descriptor, None)


def test_tidy_leaves_what_is_used(
    tree: ImageServeTree, store: ImageServeStore
) -> None:
    """A repository with a manifest stays in the lists."""
    put(store, content.image("x"), "1")
    tree.stored_files("ns/app").tidy()
    assert ImageServeTree(tree.path).repositories() == ["ns/app"]


def test_tidy_leaves_repositories_below(tree: ImageServeTree) -> None:
    """Only empty directories go."""
    put(tree.store("ns/app/child"), content.image("x"), "1")
    tree.store("ns/app").push(BLOB.descriptor, BLOB.open())
    (stored,) = tree.stored_files("ns/app").contents()
    tree.stored_files("ns/app").discard(stored)
    tree.stored_files("ns/app").tidy()
    assert tree.repositories_on_disk() == ["ns/app/child"]


def test_tidy_leaves_unknown_files(
    tree: ImageServeTree, store: ImageServeStore
) -> None:
    """A stranger's file is not removed."""
    store.push(BLOB.descriptor, BLOB.open())
    stray = OnDisk(store).home / "README"
    stray.touch()
    (stored,) = tree.stored_files("ns/app").contents()
    tree.stored_files("ns/app").discard(stored)
    tree.stored_files("ns/app").tidy()
    assert stray.exists()
    assert not OnDisk(store).blobs.exists()


def test_holder(tree: ImageServeTree) -> None:
    """The wait for a lock names its owner."""
    with tree.lock(lambda what: None):
        other = ImageServeTree(tree.path)
        assert other.lock_owner() == f"process {os.getpid()}"
    assert ImageServeTree(tree.path).lock_owner() == ""


def test_holder_without_access(
    tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel names the owner of a lock that cannot be opened."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with tree.lock(lambda what: None), monkeypatch.context() as patch:
        patch.setattr(Directory, "open_regular", refuse)
        assert tree.lock_owner() == f"process {os.getpid()}"
    with monkeypatch.context() as patch:
        patch.setattr(Directory, "open_regular", refuse)
        assert tree.lock_owner() == ""
        patch.setattr(locks, "_LOCKS", Path("/nonexistent"))
        assert tree.lock_owner() == ""


def test_fault_of_the_disk(
    tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of the system is an error of the package."""
    tree.store("ns/a").push(BLOB.descriptor, BLOB.open())

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied", "x")

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(errors.AccessDenied):
        tree.repositories_on_disk()
