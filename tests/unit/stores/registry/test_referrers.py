"""How few requests it takes to know that nothing refers to an image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.registry import Behaviour, RegistryServer

OLD = Behaviour(referrers=False)


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient() as client:
        yield client


def fill(registry: RegistryServer, name: str) -> content.Image:
    image = content.image(name)
    store = registry.content.store(name)
    for piece in image.pieces:
        store.push(piece.descriptor, piece.open())
    store.tag(image.descriptor, "1")
    return image


def test_a_registry_without_the_api_is_asked_once(
    client: RegistryClient,
) -> None:
    """What was found out for one repository holds for the others."""
    with RegistryServer(behaviour=OLD) as registry:
        for name in ("a", "b", "c"):
            image = fill(registry, name)
            store = client.store(registry.host, name)
            assert store.referrers(image.descriptor) == []
        assert len(registry.requests("GET", "/referrers/")) == 1


def test_listed_tags_need_no_second_look(client: RegistryClient) -> None:
    """Who has listed the tags knows whether the fallback tag is there."""
    with RegistryServer(behaviour=OLD) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        assert list(store.tags()) == ["1"]
        assert store.referrers(image.descriptor) == []
        assert registry.requests("HEAD", "/manifests/sha256-") == []


def test_own_referrers_are_seen(client: RegistryClient) -> None:
    """What was pushed after the tags were listed is found."""
    with RegistryServer(behaviour=OLD) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        assert list(store.tags()) == ["1"]
        artifact = content.artifact("s", image.descriptor)
        for piece in artifact.pieces:
            store.push(piece.descriptor, piece.open())
        found = store.referrers(image.descriptor)
        assert [each.digest for each in found] == [artifact.descriptor.digest]
