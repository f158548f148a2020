"""Against docker-registry: TLS, passwords, and content of some size."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.streams import put
from tests import servers

_POLICY = RetryPolicy(attempts=2, base=0.01)
IMAGE = content.image("integration")


@pytest.fixture(scope="module")
def guarded(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[servers.DockerRegistry]:
    """One with TLS and a password."""
    directory = tmp_path_factory.mktemp("docker-registry")
    with servers.docker_registry(
        directory, tls=True, user="me", password="Zz9Secret", name="localhost"
    ) as server:
        yield server


def known(server: servers.DockerRegistry) -> Credentials:
    return Credentials({server.host: (server.user, server.password)})


def test_tls_and_password(guarded: servers.DockerRegistry) -> None:
    """An image goes there and back, verified and authenticated."""
    hosts = Hosts(cacert=str(guarded.ca), credentials=known(guarded))
    with RegistryClient(hosts, policy=_POLICY) as client:
        store = client.store(guarded.host, "ns/name")
        put(store, IMAGE, "latest")
        assert store.resolve("latest") == IMAGE.descriptor
        for piece in IMAGE.pieces:
            assert store_suite.read(store, piece.descriptor) == piece.data
    assert hosts.insecure_in_use() == []


def test_large_content_with_a_password(
    guarded: servers.DockerRegistry,
) -> None:
    """A stream is sent once, and authenticated at that."""
    blob = content.blob("large", 5_000_000)
    hosts = Hosts(cacert=str(guarded.ca), credentials=known(guarded))
    with RegistryClient(hosts, policy=_POLICY) as client:
        store = client.store(guarded.host, "ns/large")
        store_suite.push(store, blob)
        assert store_suite.read(store, blob.descriptor) == blob.data


def test_many_blobs_at_once(tmp_path: Path) -> None:
    """Eight threads push and read what one registry holds."""
    blobs = [content.blob(number, 300_000 + number) for number in range(40)]
    with (
        servers.docker_registry(tmp_path) as server,
        RegistryClient(policy=_POLICY, concurrency=8) as client,
        ThreadPoolExecutor(8) as pool,
    ):
        store = client.store(server.host, "ns/many")
        list(pool.map(lambda blob: store_suite.push(store, blob), blobs))
        read = pool.map(
            lambda blob: store_suite.read(store, blob.descriptor), blobs
        )
        assert list(read) == [blob.data for blob in blobs]


def test_urls_of_layers_are_refused(guarded: servers.DockerRegistry) -> None:
    """The refusal of a layer's URLs, a status of 500, is permanent."""
    layer = content.blob(
        "w", 10, "application/vnd.oci.image.layer.nondistributable.v1.tar"
    )
    urls = ("https://example.com/layer",)
    described = dataclasses.replace(layer.descriptor, urls=urls)
    image = content.image("w", [content.Piece(described, layer.data)])
    hosts = Hosts(cacert=str(guarded.ca), credentials=known(guarded))
    with RegistryClient(hosts, policy=_POLICY) as client:
        store = client.store(guarded.host, "ns/windows")
        with pytest.raises(errors.Refused, match=r"blob unknown.* 500"):
            store_suite.store_all(store, image)
