"""Images in local storage as a source: what is copied, and what is not."""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.manifest import Manifest
from imageprep_client.programs.buildah import LocalImage
from imageprep_client.stores import base
from imageprep_client.stores.containers import (
    ContainersStorage,
    ContainersStore,
)
from imageprep_client.stores.diffids import DiffIdCheck
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from tests.local_storage import LocalStorage, name_of_killed_run

NAME = "localhost/nova"


@pytest.fixture
def storage(local_storage: LocalStorage) -> Iterator[ContainersStorage]:
    """Local storage with an image of two layers, `NAME`:1."""
    local_storage.build("localhost/low:1", {"/a": b"a" * 5000})
    local_storage.build(
        f"{NAME}:1", {"/b": b"b" * 5000}, base="localhost/low:1", user="nova"
    )
    with ContainersStorage(local_storage.buildah) as found:
        yield found


@pytest.fixture
def destination() -> MemoryStore:
    """An empty repository."""
    return MemoryRegistry().store("ns/nova")


def copy(
    storage: ContainersStorage, name: str, destination: base.Store
) -> engine.CopyResult:
    """Copy a local image, as its tag."""
    repository, _, tag = name.rpartition(":")
    one = Copy(
        name=name,
        source=ContainersStore(storage, repository, destination),
        reference=tag,
        destination=destination,
        tag=tag,
    )
    (outcome,) = engine.copy_all([one], observer=Observer())
    if outcome.error:
        raise outcome.error
    return outcome


def manifest(store: base.ReadableStore, tag: str) -> Manifest:
    """The manifest behind a tag."""
    root = store.resolve(tag)
    with store.fetch(root) as content:
        return manifests.parse(content.read(), root.media_type)


def image(storage: ContainersStorage, name: str) -> LocalImage:
    """A local image that is there."""
    found = storage.buildah.image(name)
    assert found is not None
    return found


def test_content_is_that_of_the_local_image(
    storage: ContainersStorage, destination: MemoryStore
) -> None:
    """Image ID and diff IDs are the local ones; the layers are packed."""
    local = image(storage, f"{NAME}:1")
    copy(storage, f"{NAME}:1", destination)
    copied = manifest(destination, "1")
    assert copied.config is not None
    assert copied.config.digest == f"sha256:{local.id}"
    unpacked = []
    for layer in copied.layers:
        assert layer.media_type == mediatypes.OCI_LAYER_GZIP
        with destination.fetch(layer) as content:
            tar = gzip.decompress(content.read())
        unpacked.append(f"sha256:{hashlib.sha256(tar).hexdigest()}")
    assert tuple(unpacked) == local.diff_ids


def test_each_run_gives_the_same_digest(
    storage: ContainersStorage, destination: MemoryStore
) -> None:
    """A second copy, packed anew for another registry, is the same."""
    first = copy(storage, f"{NAME}:1", destination)
    other = MemoryRegistry("other").store("ns/nova")
    with ContainersStorage(storage.buildah) as again:
        second = copy(again, f"{NAME}:1", other)
    assert first.descriptor == second.descriptor


def test_a_shared_layer_is_packed_once(
    local_storage: LocalStorage, destination: MemoryStore
) -> None:
    """Images are asked for all at once, and each layer is packed once."""
    local_storage.build("localhost/low:1", {"/a": b"a" * 5000})
    names = [f"{NAME}{number}" for number in range(4)]
    for name in names:
        files = {"/b": name.encode()}
        local_storage.build(f"{name}:1", files, base="localhost/low:1")
    with ContainersStorage(local_storage.buildah) as storage:
        threads = [
            threading.Thread(
                target=ContainersStore(storage, name).resolve, args=("1",)
            )
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        packed = [
            path.name
            for path in local_storage.temporary.rglob("blobs/sha256/*")
            if path.read_bytes()[:2] == b"\x1f\x8b"
        ]
    assert len(packed) == len(set(packed)) == len(names) + 1


def test_what_was_packed_is_removed(
    local_storage: LocalStorage, storage: ContainersStorage
) -> None:
    """Temporary files go when the run ends."""
    ContainersStore(storage, NAME).resolve("1")
    assert any(local_storage.temporary.iterdir())
    storage.close()
    assert not any(local_storage.temporary.iterdir())


def test_what_a_killed_run_packed_is_removed(
    local_storage: LocalStorage, storage: ContainersStorage
) -> None:
    """Temporary files of a process that is no more go as well."""
    left = local_storage.temporary / name_of_killed_run()
    other = local_storage.temporary / "of-another"
    for path in (left, other):
        path.mkdir()
    ContainersStore(storage, NAME).resolve("1")
    assert not left.exists()
    assert other.exists()


# --- images that were pulled


@pytest.fixture
def layout(storage: ContainersStorage, tmp_path: Path) -> base.Store:
    """A layout with `NAME`:1, which local storage has pulled from there."""
    directory = tmp_path / "layout"
    store = LayoutRoot(directory).store("nova")
    copy(storage, f"{NAME}:1", store)
    storage.buildah.remove(f"{NAME}:1", "localhost/low:1")
    storage.buildah.pull(str(directory / "nova"), "1", f"{NAME}:1")
    return store


def test_pulled_image_is_not_packed(
    local_storage: LocalStorage,
    storage: ContainersStorage,
    layout: base.Store,
    destination: MemoryStore,
) -> None:
    """Its layers come from where it was pulled; the digest is that one."""
    with ContainersStorage(storage.buildah) as other:
        other.know(DiffIdCheck().check_stored(layout, "1", NAME), layout)
        copied = copy(other, f"{NAME}:1", destination)
        assert copied.descriptor == layout.resolve("1")
        assert len(list(local_storage.temporary.iterdir())) == 1


def test_changed_image_has_its_base_packed_as_it_was(
    storage: ContainersStorage,
    layout: base.Store,
    local_storage: LocalStorage,
    destination: MemoryStore,
) -> None:
    """Of an image that was pulled and changed only the change is packed."""
    local_storage.build(f"{NAME}:2", {"/new": b"n"}, base=f"{NAME}:1")
    with ContainersStorage(storage.buildah) as other:
        other.know(DiffIdCheck().check_stored(layout, "1", NAME), layout)
        copy(other, f"{NAME}:2", destination)
    *low, new = manifest(destination, "2").layers
    assert tuple(low) == manifest(layout, "1").layers
    assert not layout.exists(new)


@pytest.mark.parametrize("repository", ["ns/nova", "ns/other"])
def test_what_the_destination_has_is_not_packed(
    layout: base.Store,
    storage: ContainersStorage,
    local_storage: LocalStorage,
    repository: str,
) -> None:
    """Local storage remembers how layers were packed when it pulled them.

    A destination that has them so, in this repository or in another that it
    can take them from, gets them by that digest.
    """
    registry = MemoryRegistry()
    with ContainersStorage(storage.buildah) as other:
        other.know(DiffIdCheck().check_stored(layout, "1", NAME), layout)
        copy(other, f"{NAME}:1", registry.store(repository))
    local_storage.build(f"{NAME}:2", {"/new": b"n"}, base=f"{NAME}:1")
    destination = registry.store("ns/nova")
    with ContainersStorage(storage.buildah) as other:
        outcome = copy(other, f"{NAME}:2", destination)
    found = manifest(destination, "2")
    assert found.layers[:-1] == manifest(layout, "1").layers
    assert found.config is not None
    assert outcome.copied == found.layers[-1].size + found.config.size


def test_what_the_destination_has_not_is_packed(
    storage: ContainersStorage, layout: base.Store, destination: MemoryStore
) -> None:
    """That a layer was packed once is of no use to who does not have it."""
    with ContainersStorage(storage.buildah) as other:
        outcome = copy(other, f"{NAME}:1", destination)
    found = manifest(destination, "1")
    assert found.config == manifest(layout, "1").config
    assert outcome.copied == sum(blob.size for blob in found.blobs)


def test_storage_whose_records_cannot_be_read(
    storage: ContainersStorage,
    layout: base.Store,
    local_storage: LocalStorage,
    destination: MemoryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where nothing is remembered all is packed, and right."""
    monkeypatch.setattr(
        type(storage.buildah), "info", lambda self: {"store": None}
    )
    with ContainersStorage(storage.buildah) as other:
        copy(other, f"{NAME}:1", destination)
    assert manifest(destination, "1").config == manifest(layout, "1").config


# --- what cannot be


def test_no_such_image(storage: ContainersStorage) -> None:
    """A tag or a digest that is not there is named."""
    store = ContainersStore(storage, NAME)
    for reference in ("2", f"sha256:{'0' * 64}"):
        with pytest.raises(errors.NotFound, match="localhost/nova"):
            store.resolve(reference)
    root = store.resolve("1")
    assert store.resolve(root.digest) == root


def test_docker_format(
    local_storage: LocalStorage, destination: MemoryStore
) -> None:
    """An image of docker's format stays one, with its ID."""
    buildah = local_storage.buildah
    with buildah.container(local_storage.base()) as container:
        told = buildah.run(
            *("commit", "--quiet", "--format", "docker"),
            *(container.name, f"{NAME}:1"),
        )
    with ContainersStorage(buildah) as storage:
        copy(storage, f"{NAME}:1", destination)
    found = manifest(destination, "1")
    assert found.descriptor.media_type == mediatypes.DOCKER_MANIFEST
    types = {layer.media_type for layer in found.layers}
    assert types == {mediatypes.DOCKER_LAYER_GZIP}
    assert found.config is not None
    assert found.config.digest == f"sha256:{told.strip()}"
