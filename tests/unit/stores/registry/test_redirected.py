"""Registries that redirect writes, or all requests, to another server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from imageprep_client import errors
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, images, store_suite
from imageprep_client.testing.gate import Basic
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.transfer import engine
from tests import servers
from tests.recorder import Recorder

WRITES = ("POST", "PUT", "PATCH")
IMAGE = images.random_image(
    "redirected", repository="ns/name", tags=("1",), layers=2, size=3_000_000
)


@pytest.fixture
def backend(server: RegistryServer) -> Iterator[RegistryServer]:
    """The registry that has the content of the first one."""
    with RegistryServer(server.content) as other:
        other.uploads = server.uploads
        yield other


def copy(host: str, client: RegistryClient) -> None:
    source = MemoryRegistry()
    images.write([IMAGE], source.store)
    engine.copy(
        source.store("ns/name"),
        "1",
        client.destination(host, "ns/name"),
        "1",
        observer=Recorder(),
    )


@pytest.mark.parametrize(
    "methods", [("POST",), ("PUT", "PATCH"), WRITES, ("GET", "HEAD", *WRITES)]
)
def test_content_arrives(
    server: RegistryServer,
    backend: RegistryServer,
    client: RegistryClient,
    methods: tuple[str, ...],
) -> None:
    """Layers, configs and manifests are sent where a redirect leads."""
    server.behaviour.redirects = dict.fromkeys(methods, backend.url)
    copy(server.host, client)
    store = server.content.store("ns/name")
    assert store.resolve("1") == IMAGE.descriptor
    assert all(store.exists(blob.descriptor) for blob in IMAGE.blobs)


def test_streams_that_are_never_received(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A redirect in a circle ends the upload with its reason."""
    server.behaviour.redirects = {"PUT": server.url, "PATCH": server.url}
    with pytest.raises(errors.ImagePrepError, match="over 5 redirects"):
        copy(server.host, client)


def test_access_to_the_other_server(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A server that gets no credentials may want some: the hint says so."""
    with RegistryServer(gate=Basic("me", "Zz9Secret")) as other:
        server.behaviour.redirects = dict.fromkeys(WRITES, other.url)
        with pytest.raises(errors.CopyError) as caught:
            copy(server.host, client)
    assert f"{server.host} redirects to another server" in str(
        caught.value.hint
    )


@pytest.mark.parametrize("status", [400, 403])
def test_expired_urls(
    server: RegistryServer,
    backend: RegistryServer,
    store: RegistryStore,
    status: int,
) -> None:
    """Storage that refuses a signed URL is asked again with a new one."""
    images.write([IMAGE], server.content.store)
    server.behaviour.redirects = {"GET": backend.url}
    body = (
        b"<Error><Code>AccessDenied</Code><Message>Expired</Message></Error>"
    )
    backend.fail(path="/blobs/", status=status, body=body)
    blob = IMAGE.blobs[0]
    with store.fetch(blob.descriptor) as stream:
        assert len(stream.read()) == blob.descriptor.size
    assert len(server.requests("GET", "/blobs/")) == 2

    backend.fail(path="/blobs/", status=status, body=body, times=None)
    with pytest.raises(errors.ServerFault, match="Expired") as caught:
        store.fetch(blob.descriptor)
    assert f"{server.host} redirects to this server" in str(caught.value.hint)


def _push(store: RegistryStore) -> None:
    store_suite.push(store, content.blob("new"))


def _fetch(store: RegistryStore) -> None:
    store.fetch(IMAGE.blobs[0].descriptor).read()


@pytest.mark.parametrize(
    ("method", "status", "use"),
    [("POST", 202, _push), ("GET", 307, _fetch)],
    ids=["upload", "storage"],
)
def test_servers_that_never_answer(
    server: RegistryServer,
    destination: RegistryStore,
    method: str,
    status: int,
    use: Callable[[RegistryStore], None],
) -> None:
    """An address that clients cannot reach is told soon, with its origin."""
    images.write([IMAGE], server.content.store)
    address = f"127.0.0.1:{servers.free_port()}"
    server.fail(
        method,
        "/blobs/",
        status=status,
        headers={"Location": f"http://{address}/x"},
        times=None,
    )
    with pytest.raises(errors.Unreachable) as caught:
        use(destination)
    assert str(caught.value).startswith(address)
    assert f"{server.host} names this server" in str(caught.value.hint)
