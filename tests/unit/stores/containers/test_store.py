"""The store over the answers of buildah; no image is packed here."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.programs.buildah import Buildah, LocalImage
from imageprep_client.programs.buildah.records import LayerRecords
from imageprep_client.stores.containers import (
    ContainersStorage,
    ContainersStore,
)
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import content

DIFF_IDS = (f"sha256:{'1' * 64}", f"sha256:{'2' * 64}")
CONFIG = content.blob("config", media_type=mediatypes.OCI_CONFIG)
#: The layers as they are in local storage, unpacked.
UNPACKED = [
    {"mediaType": mediatypes.OCI_LAYER, "digest": diff_id, "size": 10}
    for diff_id in DIFF_IDS
]


def local(
    layers: list[dict[str, Any]] = UNPACKED, **changes: object
) -> LocalImage:
    """An image that was built here.

    :param changes: of its manifest.
    """
    document = {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": CONFIG.descriptor.to_json(),
        "layers": layers,
        "annotations": {"of": "mine"},
        **changes,
    }
    return LocalImage(
        id=CONFIG.descriptor.digest.partition(":")[2],
        digest="",
        names=("localhost/nova:1",),
        labels={},
        architecture="amd64",
        os="linux",
        user="",
        diff_ids=DIFF_IDS,
        manifest=json.dumps(document, indent=1).encode(),
        config=CONFIG.data,
    )


@pytest.fixture
def buildah(tmp_path: Path) -> Any:
    """A buildah with one image, which remembers nothing."""
    found = mock.create_autospec(Buildah, instance=True)
    found.environment = os.environ
    found.image.return_value = local()
    found.records.return_value = LayerRecords({"GraphRoot": str(tmp_path)})
    return found


@pytest.fixture
def storage(buildah: Any) -> ContainersStorage:
    """Local storage that does not pack."""
    buildah.export.side_effect = AssertionError
    return ContainersStorage(buildah)


@pytest.fixture
def origin() -> MemoryStore:
    """Where layers are packed."""
    return MemoryRegistry().store("ns/base")


def known(
    storage: ContainersStorage, origin: MemoryStore, media_type: str
) -> list[Descriptor]:
    """Let the layers be known to be packed at `origin`."""
    pieces = [
        content.blob(diff_id, media_type=media_type) for diff_id in DIFF_IDS
    ]
    for piece in pieces:
        origin.push(piece.descriptor, piece.open())
    layers = [piece.descriptor for piece in pieces]
    storage.know(dict(zip(DIFF_IDS, layers, strict=True)), origin)
    return layers


@pytest.mark.parametrize(
    ("manifest", "known_as", "named"),
    [
        (
            mediatypes.OCI_MANIFEST,
            mediatypes.DOCKER_LAYER_GZIP,
            mediatypes.OCI_LAYER_GZIP,
        ),
        (
            mediatypes.OCI_MANIFEST,
            mediatypes.OCI_LAYER_ZSTD,
            mediatypes.OCI_LAYER_ZSTD,
        ),
        (
            mediatypes.DOCKER_MANIFEST,
            mediatypes.OCI_LAYER_GZIP,
            mediatypes.DOCKER_LAYER_GZIP,
        ),
    ],
)
def test_known_layers(
    storage: ContainersStorage,
    buildah: Any,
    origin: MemoryStore,
    manifest: str,
    known_as: str,
    named: str,
) -> None:
    """They are named as the manifest can, read from where they are, and all
    else in the manifest is as it was.
    """
    layers = known(storage, origin, known_as)
    buildah.image.return_value = local(mediaType=manifest)
    store = ContainersStore(storage, "localhost/nova")
    root = store.resolve("1")
    found = manifests.parse(store.fetch(root).read(), root.media_type)
    assert root.media_type == manifest
    assert found.config == CONFIG.descriptor
    assert [x.digest for x in found.layers] == [x.digest for x in layers]
    assert {x.media_type for x in found.layers} == {named}
    assert found.annotations == {"of": "mine"}
    for blob in found.blobs:
        assert store.exists(blob)
        assert store.fetch(blob).read()


def test_docker_cannot_name_zstd(
    storage: ContainersStorage, buildah: Any, origin: MemoryStore
) -> None:
    """A layer that the manifest cannot name is packed again."""
    known(storage, origin, mediatypes.OCI_LAYER_ZSTD)
    buildah.image.return_value = local(mediaType=mediatypes.DOCKER_MANIFEST)
    with pytest.raises(AssertionError):
        ContainersStore(storage, "localhost/nova").resolve("1")


def test_manifest_that_fits_keeps_its_bytes(
    storage: ContainersStorage, buildah: Any, origin: MemoryStore
) -> None:
    """A manifest that names packed layers already is not written anew."""
    layers = known(storage, origin, mediatypes.OCI_LAYER_GZIP)
    image = local([layer.to_json() for layer in layers])
    buildah.image.return_value = image
    store = ContainersStore(storage, "localhost/nova")
    assert store.fetch(store.resolve("1")).read() == image.manifest


def test_manifest_without_a_type(
    storage: ContainersStorage, buildah: Any, origin: MemoryStore
) -> None:
    """OCI lets the type be left out."""
    known(storage, origin, mediatypes.OCI_LAYER_GZIP)
    image = local()
    document = json.loads(image.manifest)
    del document["mediaType"]
    buildah.image.return_value = dataclasses.replace(
        image, manifest=json.dumps(document).encode()
    )
    root = ContainersStore(storage, "localhost/nova").resolve("1")
    assert root.media_type == mediatypes.OCI_MANIFEST


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"manifest": b"{"}, "type '' cannot be copied"),
        ({"manifest": b"[]"}, "type '' cannot be copied"),
        ({"manifest": b'{"mediaType": "x/y"}'}, "'x/y' cannot be copied"),
        ({"config": b"{}"}, "config is not the one"),
        ({"diff_ids": DIFF_IDS[:1]}, "2 layers in its manifest, 1 in"),
    ],
)
def test_images_that_do_not_fit_together(
    storage: ContainersStorage,
    buildah: Any,
    changes: dict[str, Any],
    message: str,
) -> None:
    """A broken image is named, and not copied."""
    buildah.image.return_value = dataclasses.replace(local(), **changes)
    store = ContainersStore(storage, "localhost/nova")
    with pytest.raises(
        errors.InvalidContent, match=f"localhost/nova:1: .*{message}"
    ):
        store.resolve("1")


def test_unknown_content(storage: ContainersStorage) -> None:
    """Content of images that were not resolved does not exist."""
    store = ContainersStore(storage, "localhost/nova")
    assert not store.exists(CONFIG.descriptor)
    with pytest.raises(errors.NotFound, match="containers-storage:localhost"):
        store.fetch(CONFIG.descriptor)


def test_layers_of_another_image(
    storage: ContainersStorage, buildah: Any, origin: MemoryStore
) -> None:
    """An image whose layers are not those of its config is refused."""
    known(storage, origin, mediatypes.OCI_LAYER_GZIP)
    buildah.check_layers.side_effect = errors.LocalStorageError("others")
    with pytest.raises(errors.LocalStorageError, match="others"):
        ContainersStore(storage, "localhost/nova").resolve("1")


def test_layers_that_nobody_recorded(
    buildah: Any, origin: MemoryStore
) -> None:
    """Layers of which nothing is known are taken from nowhere else."""
    buildah.check_layers.return_value = False
    buildah.export.side_effect = errors.LocalStorageError("exports")
    with ContainersStorage(buildah) as storage:
        known(storage, origin, mediatypes.OCI_LAYER_GZIP)
        with pytest.raises(errors.LocalStorageError, match="exports"):
            ContainersStore(storage, "localhost/nova").resolve("1")


def test_no_temporary_directory(
    storage: ContainersStorage, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nothing can be packed, the place is named."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "none"))
    with pytest.raises(errors.StoreError, match="none: no such file"):
        ContainersStore(storage, "localhost/nova").resolve("1")


def test_export_that_makes_no_sense(
    buildah: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A layout that buildah left without an image is an error."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    with (
        ContainersStorage(buildah) as storage,
        pytest.raises(errors.LocalStorageError, match="not the layout of an"),
    ):
        ContainersStore(storage, "localhost/nova").resolve("1")
    assert not list(tmp_path.iterdir())


def test_nothing_is_packed_afterwards(storage: ContainersStorage) -> None:
    """A thread that comes late leaves nothing behind."""
    storage.close()
    with pytest.raises(errors.LocalStorageError, match="stopped"):
        ContainersStore(storage, "localhost/nova").resolve("1")
