"""Lengths in answers to HEAD that are wrong."""

from __future__ import annotations

import dataclasses

import pytest

from imageprep_client import errors
from imageprep_client.stores import verify
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from imageprep_client.transfer import engine
from tests.recorder import Recorder

IMAGE = content.image("lengths")
BLOB = IMAGE.parts[0]


@pytest.fixture
def filled(server: RegistryServer) -> RegistryServer:
    """A registry with the image, tagged ``latest``, and wrong lengths."""
    store = server.content.store("ns/name")
    put(store, IMAGE, "latest")
    return server


@pytest.mark.parametrize("error", [-7, 5, 10_000_000])
def test_the_manifest_has_the_last_word(
    filled: RegistryServer, store: RegistryStore, error: int
) -> None:
    """The size of a manifest is that of its bytes, not that of HEAD."""
    filled.fail("HEAD", length_error=error, times=None)
    root = store.resolve("latest")
    for _ in range(2):
        assert verify.manifest(store, root).descriptor == IMAGE.descriptor
    assert len(filled.requests("GET", "/manifests/")) == 1


@pytest.mark.parametrize("error", [-7, 5])
def test_copies(
    filled: RegistryServer, client: RegistryClient, error: int
) -> None:
    """An image is copied although both registries give wrong lengths."""
    store = filled.content.store("ns/copy")
    store.push(BLOB.descriptor, BLOB.open())
    filled.fail("HEAD", length_error=error, times=None)
    for _ in range(2):
        copied = engine.copy(
            client.store(filled.host, "ns/name"),
            "latest",
            client.destination(filled.host, "ns/copy"),
            "1",
            observer=Recorder(),
        )
        assert copied.descriptor.digest == IMAGE.descriptor.digest
    assert store.resolve("1") == IMAGE.descriptor


def test_other_sizes_are_strict(
    filled: RegistryServer, store: RegistryStore
) -> None:
    """A size that comes from elsewhere has to be right."""
    wrong = dataclasses.replace(
        IMAGE.descriptor, size=IMAGE.descriptor.size + 1
    )
    store.resolve("latest")
    with pytest.raises(errors.SizeMismatch):
        store.fetch(wrong)


def test_existence(filled: RegistryServer, store: RegistryStore) -> None:
    """GET decides whether content of another length exists."""
    filled.fail("HEAD", length_error=3, times=None)
    assert store.exists(BLOB.descriptor)
    assert store.exists(IMAGE.descriptor)
    size = BLOB.descriptor.size + 1
    assert not store.exists(dataclasses.replace(BLOB.descriptor, size=size))
