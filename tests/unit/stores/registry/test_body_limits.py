"""Registries behind a proxy that limits the size of a request."""

from __future__ import annotations

import io

import pytest

from imageprep_client import errors
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, images
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import push
from imageprep_client.transfer import engine
from imageprep_client.transfer.fanout import Passed
from tests.recorder import Recorder

SMALL = content.blob("limits", 50_000)
LIMIT = 1024 * 1024


def limit(server: RegistryServer, size: int) -> None:
    """Refuse larger bodies from now on, as nginx does."""
    server.fail(
        larger_than=size,
        status=413,
        body=b"<html>413 Request Entity Too Large",
        times=None,
    )


def copy(
    image: images.GeneratedImage,
    server: RegistryServer,
    client: RegistryClient,
) -> None:
    source = MemoryRegistry()
    images.write([image], source.store)
    engine.copy(
        source.store("ns/name"),
        "1",
        client.destination(server.host, "ns/name"),
        "1",
        observer=Recorder(),
    )


def test_layers_are_sent_in_chunks(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Layers over the limit of a proxy arrive whole, in smaller requests."""
    limit(server, LIMIT)
    image = images.random_image(
        "limits", repository="ns/name", tags=("1",), layers=3, size=9_000_000
    )
    copy(image, server, client)
    store = server.content.store("ns/name")
    assert store.resolve("1") == image.descriptor
    assert all(store.exists(blob.descriptor) for blob in image.blobs)
    patched = server.requests("PATCH")
    assert {int(r.headers["Content-Length"]) for r in patched} >= {LIMIT}


def test_small_content_is_divided(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A limit below a megabyte is met by chunks of half the content."""
    limit(server, 30_000)
    push(client.destination(server.host, "ns/name"), SMALL)
    assert server.content.store("ns/name").exists(SMALL.descriptor)
    assert len(server.requests("PATCH")) == 2


def test_least_chunks(server: RegistryServer, client: RegistryClient) -> None:
    """Chunks are as large as the registry requires."""
    limit(server, 45_000)
    server.fail("POST", headers={"OCI-Chunk-Min-Length": "40000"}, times=None)
    push(client.destination(server.host, "ns/name"), SMALL)
    sizes = [r.headers["Content-Length"] for r in server.requests("PATCH")]
    assert sizes == ["40000", "10000"]


def test_chunks_are_tried_once(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """Where chunks are too large, too, the error names a proxy."""
    limit(server, 10)
    with pytest.raises(errors.Refused, match="413") as caught:
        destination.push(SMALL.descriptor, SMALL.open())
    assert "proxy" in caught.value.hint
    assert len(server.requests("PUT")) == len(server.requests("PATCH")) == 1


@pytest.mark.parametrize(
    ("size", "status"), [(2000, 404), (3_000_000, 404), (2000, 416)]
)
def test_registry_without_whole_uploads(
    server: RegistryServer, client: RegistryClient, size: int, status: int
) -> None:
    """Content is sent in chunks where a PUT finds no upload to complete."""
    server.fail("PUT", "/uploads/", larger_than=0, status=status, times=None)
    image = images.random_image(
        "chunks", repository="ns/name", tags=("1",), layers=1, size=size
    )
    copy(image, server, client)
    assert server.content.store("ns/name").resolve("1") == image.descriptor


def test_chunks_are_tried_once_after_404(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """An upload that is not found in chunks either is given up."""
    server.fail(path="/uploads/", larger_than=0, status=404, times=None)
    with pytest.raises(errors.NotFound) as caught:
        destination.push(SMALL.descriptor, SMALL.open())
    assert "several behind a load balancer" in str(caught.value.hint)
    assert len(server.requests("PUT")) == len(server.requests("PATCH")) == 1


def test_content_that_is_sent_again_later(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """An upload that was lost once says nothing about the next one."""
    server.fail("PUT", larger_than=0, status=404)
    for _ in range(2):
        destination.push(SMALL.descriptor, SMALL.open())
    assert len(server.requests("PATCH")) == 1


def test_chunks_of_a_new_upload_are_refused_for_good(
    server: RegistryServer, client: RegistryClient
) -> None:
    """That an upload before it was used again is no reason for it."""
    server.fail("PUT", status=503)
    server.fail("PUT", status=413)
    server.fail("PATCH", status=400, times=None)
    with pytest.raises(errors.Refused):
        push(client.destination(server.host, "ns/name"), SMALL)
    assert len(server.requests("PATCH")) == 1


def test_broken_content_is_not_completed(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """Wrong content sent in chunks is never stored, and given up."""
    limit(server, LIMIT)
    large = content.blob("large", 3_000_000)
    with pytest.raises(errors.ServerFault, match="chunks are tried"):
        destination.push(large.descriptor, large.open())
    data = bytearray(large.data)
    data[-1] ^= 1
    with pytest.raises(errors.DigestMismatch):
        destination.push(large.descriptor, io.BytesIO(data))
    assert server.requests("DELETE", "/uploads/")
    assert not server.content.store("ns/name").exists(large.descriptor)


class Dropped(io.BytesIO):
    """Content that the run gives up after a part."""

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > LIMIT:
            raise Passed("dropped")
        return super().read(size)


def test_abandoned_content_leaves_no_upload(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """The registry need not keep what no request completes."""
    limit(server, LIMIT)
    large = content.blob("limits", 3 * LIMIT)
    with pytest.raises(errors.ServerFault, match="chunks are tried"):
        destination.push(large.descriptor, large.open())
    with pytest.raises(Passed):
        destination.push(large.descriptor, Dropped(large.data))
    assert len(server.requests("DELETE", "/uploads/")) == 1
