"""The rest of a blob, for who has the beginning."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import Behaviour, RegistryServer

BLOB = content.blob("b", 3 * 1024 * 1024)
AT = 1_000_000


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient(policy=RetryPolicy(base=0.001)) as client:
        yield client


def fill(registry: RegistryServer) -> None:
    store = registry.content.store("ns/a")
    store.push(BLOB.descriptor, BLOB.open())


def test_only_the_rest_travels(client: RegistryClient) -> None:
    """One request, with a range that has an end."""
    with RegistryServer() as registry:
        fill(registry)
        store = client.store(registry.host, "ns/a")
        assert isinstance(store, base.FetchesFrom)
        with store.fetch_from(BLOB.descriptor, AT) as stream:
            assert stream.read() == BLOB.data[AT:]
        (request,) = registry.requests("GET", "/blobs/")
        assert request.headers["Range"] == f"bytes={AT}-{3 * 1024 * 1024 - 1}"


@pytest.mark.parametrize(
    ("ranges", "faults"),
    [(False, []), (True, [Fault(path="/blobs/", truncate=700_000)])],
)
def test_the_rest_without_its_range(
    client: RegistryClient, ranges: bool, faults: list[Fault]
) -> None:
    """The beginning is passed over where the whole blob comes; a connection
    that breaks is taken up, as with a whole blob.
    """
    with RegistryServer(
        behaviour=Behaviour(ranges=ranges), faults=faults
    ) as registry:
        fill(registry)
        store = client.store(registry.host, "ns/a")
        with store.fetch_from(BLOB.descriptor, AT) as stream:
            assert stream.read() == BLOB.data[AT:]


def test_unknown_blob(client: RegistryClient) -> None:
    """A blob that is not there is not found."""
    with RegistryServer() as registry:
        store = client.store(registry.host, "ns/a")
        with pytest.raises(errors.NotFound):
            store.fetch_from(BLOB.descriptor, AT)
