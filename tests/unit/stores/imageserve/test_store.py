"""The files of a repository, and what else is found among them."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree
from imageprep_client.stores.imageserve import store as store_module
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.store_suite import push, read, store_all
from imageprep_client.testing.streams import put
from tests import tripleo_tree
from tests.failing import fails
from tests.trees import OnDisk

BLOB = content.blob("blob")
IMAGE = content.image("image")
OTHER = content.image("other", docker=True)
INDEX = content.index({"linux/arm64": OTHER, "linux/amd64": IMAGE})


def type_map(store: ImageServeStore, tag: str) -> str:
    return (OnDisk(store).manifests / f"{tag}.type-map").read_text()


class TestDeletion:
    """Deleting while others do, and among what others left."""

    def test_one_of_many_deletes(self, store: ImageServeStore) -> None:
        """Of all who delete a manifest at once one does; it is unknown to
        the others.
        """
        put(store, IMAGE, "1")

        def delete(_: int) -> bool:
            try:
                store.delete(IMAGE.descriptor)
            except errors.NotFound:
                return False
            return True

        with ThreadPoolExecutor(8) as threads:
            assert sum(threads.map(delete, range(8))) == 1

    def test_the_last_of_many_unlists(
        self, tree: ImageServeTree, store: ImageServeStore
    ) -> None:
        """Manifests that go at once all go, the repository with the last."""
        images = [content.image(f"image {n}") for n in range(8)]
        for n, image in enumerate(images):
            put(store, image, str(n))
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda i: store.delete(i.descriptor), images))
        assert not tree.repositories()

    def test_strangers_stay(
        self, tree: ImageServeTree, store: ImageServeStore
    ) -> None:
        """A stranger's file beside the list of tags is no obstacle."""
        put(store, IMAGE, "1")
        stray = OnDisk(store).tags / "README"
        stray.touch()
        store.delete(IMAGE.descriptor)
        assert stray.exists()
        assert not tree.repositories()


class TestLayout:
    """Files are where web servers and tripleo-common look for them."""

    def test_blob(self, store: ImageServeStore) -> None:
        """A blob's name is its digest, with nothing behind it."""
        push(store, BLOB)
        path = OnDisk(store).home / "blobs" / BLOB.descriptor.digest
        assert path.read_bytes() == BLOB.data
        assert list(path.parent.iterdir()) == [path]

    def test_manifest(self, store: ImageServeStore) -> None:
        """A manifest is in a directory of its own, with its headers."""
        push(store, IMAGE.manifest)
        digest = IMAGE.descriptor.digest
        path = OnDisk(store).home / "manifests" / digest
        assert (path / "index.json").read_bytes() == IMAGE.manifest.data
        assert (path / ".htaccess").read_text() == (
            f'Header set Content-Type "{mediatypes.OCI_MANIFEST}"\n'
            f'Header set Docker-Content-Digest "{digest}"\n'
            f'Header set ETag "\\"{digest}\\""\n'
        )

    def test_tag(self, store: ImageServeStore) -> None:
        """A tag of an image has one variant, as tripleo-common wrote it."""
        put(store, IMAGE, "17.1")
        assert type_map(store, "17.1") == (
            "URI: 17.1\n\n"
            f"Content-Type: {mediatypes.OCI_MANIFEST}\n"
            f"URI: {IMAGE.descriptor.digest}/index.json\n\n"
        )

    def test_type_of_type_maps(self, tree: ImageServeTree) -> None:
        """It is beside them, unless tripleo-common wrote how to read them."""
        store = tree.store("ns/app")
        put(store, IMAGE, "17.1")
        headers = OnDisk(store).manifests / ".htaccess"
        assert (
            headers.read_text() == "AddType application/x-type-map .type-map\n"
        )
        store = tree.store("old/app")
        tripleo_tree.write(tree.path, "old/app", IMAGE, "16.2")
        headers = OnDisk(store).manifests / ".htaccess"
        before = headers.read_text()
        put(store, OTHER, "17.1")
        assert headers.read_text() == before
        for image in (IMAGE, OTHER):
            store.delete(image.descriptor)
        assert not OnDisk(store).manifests.exists()

    def test_tag_of_an_index(self, store: ImageServeStore) -> None:
        """A tag of an index offers its linux/amd64 image, with low weight."""
        put(store, INDEX, "17.1")
        assert type_map(store, "17.1") == (
            "URI: 17.1\n\n"
            f"Content-Type: {mediatypes.OCI_INDEX}\n"
            f"URI: {INDEX.descriptor.digest}/index.json\n\n"
            f"Content-Type: {mediatypes.OCI_MANIFEST}; qs=0.1\n"
            f"URI: {IMAGE.descriptor.digest}/index.json\n\n"
        )

    def test_tag_of_a_sparse_index(self, store: ImageServeStore) -> None:
        """Only an image that is in the repository is offered."""
        store_all(store, OTHER)
        push(store, INDEX.manifest)
        store.tag(INDEX.descriptor, "17.1")
        assert OTHER.descriptor.digest in type_map(store, "17.1")
        assert IMAGE.descriptor.digest not in type_map(store, "17.1")

    def test_tags_list(self, store: ImageServeStore) -> None:
        """Tags are listed, sorted, in a document of the usual form."""
        store_all(store, IMAGE)
        for tag in ("b", "a", "C"):
            store.tag(IMAGE.descriptor, tag)
        assert OnDisk(store).tags_list.read_text() == (
            '{"name": "ns/app", "tags": ["C", "a", "b"]}'
        )

    def test_referrers(self, store: ImageServeStore) -> None:
        """Referrers are an index, with a file that says its type."""
        artifact = content.artifact("sbom", IMAGE.descriptor)
        store_all(store, artifact)
        directory = OnDisk(store).home / "referrers"
        headers = (directory / ".htaccess").read_text()
        assert headers.startswith(f"ForceType {mediatypes.OCI_INDEX}\n")
        path = directory / IMAGE.descriptor.digest
        document = json.loads(path.read_bytes())
        assert document["mediaType"] == mediatypes.OCI_INDEX
        assert document["manifests"][0]["digest"] == artifact.descriptor.digest

    def test_referrers_go_with_the_last(self, store: ImageServeStore) -> None:
        """A deleted artifact refers to nothing."""
        artifacts = [
            content.artifact(name, IMAGE.descriptor) for name in ("a", "b")
        ]
        store_all(store, IMAGE, *artifacts)
        store.delete(artifacts[0].descriptor)
        assert store.referrers(IMAGE.descriptor) == (artifacts[1].descriptor,)
        store.delete(artifacts[1].descriptor)
        assert not OnDisk(store).referrers_of(IMAGE.descriptor.digest).exists()

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", '{"manifests": [{}]}', '{"manifests": 1}']
    )
    def test_broken_referrers(self, store: ImageServeStore, text: str) -> None:
        """A file that is no list of referrers is named."""
        path = OnDisk(store).referrers_of(IMAGE.descriptor.digest)
        path.parent.mkdir(parents=True)
        path.write_text(text)
        with pytest.raises(errors.InvalidContent, match=path.name):
            store.referrers(IMAGE.descriptor)

    def test_nothing_is_left_behind(
        self, store: ImageServeStore, tree: ImageServeTree
    ) -> None:
        """The staging directory is empty when all is done."""
        put(store, INDEX, "latest")
        store.delete(INDEX.descriptor)
        assert not list((tree.path / ".incoming").iterdir())


class TestLinks:
    """Blobs are shared by hard links."""

    def test_found_in_an_old_tree(self, tree: ImageServeTree) -> None:
        """Layers that tripleo-common stored are linked, not moved."""
        tripleo_tree.write(tree.path, "old/app", IMAGE, "16.2")
        layer = IMAGE.parts[0].descriptor
        store = tree.store("ns/app")
        assert store.mount(layer, None)
        old = OnDisk(tree.store("old/app")).blobs / f"{layer.digest}.gz"
        assert old.samefile(OnDisk(store).blob(layer.digest))

    def test_gone_since_the_scan(self, tree: ImageServeTree) -> None:
        """A blob that was deleted is no longer linked."""
        tree.repositories()
        origin = tree.store("ns/origin")
        push(origin, BLOB)
        origin.delete(BLOB.descriptor)
        assert not tree.store("ns/app").mount(BLOB.descriptor, None)

    def test_gone_where_it_was_first(self, tree: ImageServeTree) -> None:
        """A blob that was deleted is linked from where it was mounted."""
        tree.repositories()
        origin = tree.store("ns/origin")
        push(origin, BLOB)
        assert tree.store("ns/app").mount(BLOB.descriptor, None)
        origin.delete(BLOB.descriptor)
        assert tree.store("ns/other").mount(BLOB.descriptor, None)

    def test_removed_by_others(self, tree: ImageServeTree) -> None:
        """A blob that somebody removed is no longer linked."""
        tree.repositories()
        origin = tree.store("ns/origin")
        push(origin, BLOB)
        OnDisk(origin).blob(BLOB.descriptor.digest).unlink()
        assert not tree.store("ns/app").mount(BLOB.descriptor, None)

    def test_short_files_are_not_linked(self, tree: ImageServeTree) -> None:
        """Half a blob is not spread."""
        origin = tree.store("ns/origin")
        push(origin, BLOB)
        OnDisk(origin).blob(BLOB.descriptor.digest).write_bytes(b"half")
        assert not tree.store("ns/app").mount(BLOB.descriptor, None)
        assert not tree.store("ns/app").mount(BLOB.descriptor, "ns/origin")

    def test_replaces_a_short_file(self, tree: ImageServeTree) -> None:
        """A link takes the place of half a blob."""
        origin, store = tree.store("ns/origin"), tree.store("ns/app")
        push(origin, BLOB)
        OnDisk(store).blobs.mkdir(parents=True)
        OnDisk(store).blob(BLOB.descriptor.digest).write_bytes(b"half")
        assert store.mount(BLOB.descriptor, "ns/origin")
        assert read(store, BLOB.descriptor) == BLOB.data

    def test_swapped_meanwhile(
        self, tree: ImageServeTree, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A link to something else than was looked at is no mount."""
        push(tree.store("ns/origin"), BLOB)

        def link(origin: str, target: str, **options: Any) -> None:
            above = Path(f"/proc/self/fd/{options['dst_dir_fd']}")
            (above / target).write_bytes(b"something else")

        monkeypatch.setattr(os, "link", link)
        store = tree.store("ns/app")
        assert not store.mount(BLOB.descriptor, "ns/origin")
        assert not store.exists(BLOB.descriptor)


class TestOldTrees:
    """A tree of tripleo-common is read and extended in place."""

    def test_image(self, tree: ImageServeTree) -> None:
        """An image is resolved, read and whole."""
        tripleo_tree.write(tree.path, "old/app", OTHER, "16.2")
        store = tree.store("old/app")
        assert store.resolve("16.2") == OTHER.descriptor
        assert store.holds(OTHER.descriptor)
        for piece in OTHER.pieces:
            assert read(store, piece.descriptor) == piece.data

    def test_index(self, tree: ImageServeTree) -> None:
        """A tag with an index and an image names the index."""
        tripleo_tree.write(tree.path, "old/app", INDEX, "16.2")
        store = tree.store("old/app")
        assert store.resolve("16.2") == INDEX.descriptor
        assert store.holds(INDEX.descriptor)

    def test_link(self, tree: ImageServeTree) -> None:
        """A tag that is a link is resolved and listed."""
        tripleo_tree.write_with_link(tree.path, "old/app", OTHER, "13")
        store = tree.store("old/app")
        assert store.resolve("13") == OTHER.descriptor
        assert list(store.tags()) == ["13"]

    def test_link_is_replaced(self, tree: ImageServeTree) -> None:
        """When its tag is written again a link becomes a type map."""
        tripleo_tree.write_with_link(tree.path, "old/app", OTHER, "13")
        store = tree.store("old/app")
        put(store, IMAGE, "13")
        assert not OnDisk(store).tag_link("13").is_symlink()
        assert store.resolve("13") == IMAGE.descriptor

    def test_link_is_deleted(self, tree: ImageServeTree) -> None:
        """A deleted manifest takes its links with it."""
        tripleo_tree.write_with_link(tree.path, "old/app", OTHER, "13")
        store = tree.store("old/app")
        store.delete(OTHER.descriptor)
        assert list(store.tags()) == []

    @pytest.mark.parametrize("target", ["nowhere", "../../etc", "sha256:x/"])
    def test_link_elsewhere(self, store: ImageServeStore, target: str) -> None:
        """A link to anything but a digest's directory names nothing."""
        OnDisk(store).manifests.mkdir(parents=True)
        OnDisk(store).tag_link("13").symlink_to(target)
        with pytest.raises(errors.NotFound):
            store.resolve("13")

    def test_whole_layer_is_kept(self, tree: ImageServeTree) -> None:
        """A layer that is there is not written a second time."""
        tripleo_tree.write(tree.path, "old/app", IMAGE, "16.2")
        store = tree.store("old/app")
        store_all(store, IMAGE)
        layer = IMAGE.parts[0].descriptor.digest
        assert not OnDisk(store).blob(layer).exists()

    @pytest.mark.parametrize("suffix", ["", ".gz"])
    def test_short_layer_is_replaced(
        self, tree: ImageServeTree, suffix: str
    ) -> None:
        """Half a layer, left by a crash, does not exist and is replaced."""
        tripleo_tree.write(tree.path, "old/app", IMAGE, "16.2")
        store = tree.store("old/app")
        layer = IMAGE.parts[0]
        for path in OnDisk(store).blob_candidates(layer.descriptor.digest):
            path.unlink(missing_ok=True)
        short = OnDisk(store).blobs / f"{layer.descriptor.digest}{suffix}"
        short.write_bytes(layer.data[:10])
        assert not store.exists(layer.descriptor)
        assert not store.holds(IMAGE.descriptor)
        push(store, layer)
        assert read(store, layer.descriptor) == layer.data
        names = [path.name for path in OnDisk(store).blobs.iterdir()]
        assert layer.descriptor.digest in names
        assert f"{layer.descriptor.digest}.gz" not in names

    @pytest.mark.parametrize("lost", ["index.json", ".htaccess"])
    def test_half_a_manifest_is_completed(
        self, tree: ImageServeTree, lost: str
    ) -> None:
        """A manifest without its headers, or the reverse, is not there."""
        tripleo_tree.write(tree.path, "old/app", IMAGE, "16.2")
        store = tree.store("old/app")
        home = OnDisk(store).manifest_directory(IMAGE.descriptor.digest)
        (home / lost).unlink()
        assert not store.exists(IMAGE.descriptor)
        push(store, IMAGE.manifest)
        assert store.exists(IMAGE.descriptor)
        assert store.resolve("16.2") == IMAGE.descriptor

    @pytest.mark.parametrize(
        ("document", "media_type"),
        [
            (b'{"mediaType": "application/x"}', "application/x"),
            (b'{"manifests": []}', mediatypes.OCI_INDEX),
            (b'{"layers": []}', mediatypes.OCI_MANIFEST),
            (b"[]", mediatypes.OCI_MANIFEST),
            (b"\xff", mediatypes.OCI_MANIFEST),
        ],
    )
    def test_type_without_headers(
        self, store: ImageServeStore, document: bytes, media_type: str
    ) -> None:
        """Without headers, a manifest's type is the one it names or has."""
        digest = digests.of(document)
        path = OnDisk(store).manifest(digest)
        path.parent.mkdir(parents=True)
        path.write_bytes(document)
        assert store.resolve(digest).media_type == media_type


class TestDeleting:
    """The references to a manifest go before it."""

    def test_image_of_an_index(self, store: ImageServeStore) -> None:
        """The index's tag stays, without offering the deleted image."""
        put(store, INDEX, "multi")
        store.tag(IMAGE.descriptor, "amd64")
        store.delete(IMAGE.descriptor)
        assert list(store.tags()) == ["multi"]
        assert store.resolve("multi") == INDEX.descriptor
        assert IMAGE.descriptor.digest not in type_map(store, "multi")

    def test_list_is_written(self, store: ImageServeStore) -> None:
        """Deleted tags leave the list."""
        store_all(store, IMAGE, OTHER)
        store.tag(IMAGE.descriptor, "one")
        store.tag(OTHER.descriptor, "two")
        store.delete(IMAGE.descriptor)
        document = json.loads(OnDisk(store).tags_list.read_bytes())
        assert document["tags"] == ["two"]

    def test_last_manifest_with_company(self, store: ImageServeStore) -> None:
        """Files of somebody else's do not stop it, and are left."""
        put(store, IMAGE, "latest")
        headers = OnDisk(store).manifests / ".htaccess"
        headers.write_text("# mine\n")
        store.delete(IMAGE.descriptor)
        assert list(store.tags()) == []
        assert headers.read_text() == "# mine\n"


class TestWhatIsNoContent:
    """Links and special files are not followed, lies not believed."""

    def test_linked_directory(
        self, tree: ImageServeTree, tmp_path: Path
    ) -> None:
        """Content behind a link out of the tree is not read."""
        outside = ImageServeTree(tmp_path / "outside")
        push(outside.store("app"), BLOB)
        push(tree.store("other"), BLOB)
        (tree.path / "v2" / "app").symlink_to(
            OnDisk(outside.store("app")).home
        )
        with pytest.raises(errors.NotFound):
            read(tree.store("app"), BLOB.descriptor)

    def test_enormous_size(self, store: ImageServeStore) -> None:
        """A size that no disk has is refused before a byte is read."""
        enormous = dataclasses.replace(BLOB.descriptor, size=1 << 62)
        with pytest.raises(errors.NoSpace) as caught:
            push(store, content.Piece(enormous, BLOB.data))
        assert caught.value.needed == 1 << 62
        assert caught.value.free

    def test_manifest_over_the_limit(self, store: ImageServeStore) -> None:
        """A manifest that claims to be enormous is not read."""
        enormous = dataclasses.replace(IMAGE.descriptor, size=1 << 30)
        with pytest.raises(errors.InvalidContent):
            push(store, content.Piece(enormous, IMAGE.manifest.data))

    def test_manifest_that_is_none(self, store: ImageServeStore) -> None:
        """Content of a manifest's type that is none is refused."""
        none = content.piece(b"{}", mediatypes.OCI_MANIFEST)
        with pytest.raises(errors.InvalidContent):
            push(store, none)
        assert not store.exists(none.descriptor)


def test_full_disk(
    store: ImageServeStore,
    tree: ImageServeTree,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A disk that fills says what was needed, and nothing is left."""
    push(store, content.blob("before"))
    monkeypatch.setattr(store_module, "write_all", fails(errno.ENOSPC))
    with pytest.raises(errors.NoSpace, match="1000 bytes needed"):
        push(store, BLOB)
    assert not store.exists(BLOB.descriptor)
    assert not list((tree.path / ".incoming").iterdir())


def test_refused_rename(
    store: ImageServeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A manifest that cannot be put in place is not half there."""
    push(store, BLOB)
    monkeypatch.setattr(os, "rename", fails(errno.EACCES))
    with pytest.raises(errors.AccessDenied):
        push(store, IMAGE.manifest)
    assert (
        not OnDisk(store).manifest_directory(IMAGE.descriptor.digest).exists()
    )


def test_refused_removal(
    store: ImageServeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An emptied directory that may not be removed is told."""
    store_all(store, IMAGE)
    monkeypatch.setattr(os, "rmdir", fails(errno.EACCES))
    with pytest.raises(errors.AccessDenied):
        store.delete(IMAGE.descriptor)


def test_unreadable_tag(
    store: ImageServeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A refusal of the system is told, not taken for a missing tag."""
    push(store, IMAGE.manifest)
    monkeypatch.setattr(os, "readlink", fails(errno.EACCES))
    with pytest.raises(errors.AccessDenied):
        store.resolve("latest")


def test_open_for_sending(store: ImageServeStore) -> None:
    """A server gets the files themselves."""
    store_suite.store_all(store, IMAGE)
    blob = store.open_blob(IMAGE.parts[0].descriptor.digest)
    manifest = store.open_manifest(IMAGE.descriptor.digest)
    assert blob is not None
    assert manifest is not None
    with blob, manifest:
        assert blob.readall() == IMAGE.parts[0].data
        assert manifest.readall() == IMAGE.manifest.data
