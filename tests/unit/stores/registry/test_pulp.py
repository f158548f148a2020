"""Pulp, the registry of Satellite and of Automation Hub."""

from __future__ import annotations

import io
import json
import time

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.testing.streams import push, put

#: Pulp marks all its answers.
MARK = Fault(
    path="/v2/", headers={"X-Registry-Supports-Signatures": "1"}, times=None
)
_UPLOAD = r"/uploads/\w"


def with_password(server: RegistryServer) -> RegistryClient:
    """A client that has a user and a password."""
    known = Credentials({server.host: ("me", "secret")})
    return RegistryClient(Hosts(credentials=known))


class Broken(io.BytesIO):
    """Content whose source fails once a server gets the first part."""

    def __init__(self, data: bytes, server: RegistryServer) -> None:
        super().__init__(data)
        self._server = server

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell():
            end = time.monotonic() + 30
            while not self._server.requests(path=_UPLOAD):
                assert time.monotonic() < end
                time.sleep(0.001)
            raise errors.Unreachable("the source is gone")
        return super().read(size)


def answer_signatures(server: RegistryServer, document: object) -> None:
    """Answer requests for signatures with this document."""
    server.fail(
        path="^/extensions/v2/ns/name/signatures/sha256:",
        status=200,
        body=json.dumps(document).encode(),
        times=None,
    )


def signature(content: str, **others: object) -> dict[str, object]:
    """An entry in the list of signatures."""
    known = {"schemaVersion": 2, "type": "atomic", "name": "n"}
    return {**known, "content": content, **others}


def test_signatures_beside_an_image(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Those of the registry's extension count; others are not understood."""
    image = content.image("signed")
    put(server.content.store("ns/name"), image, "latest")
    listed = [
        signature("b25l"),
        signature("eA==", type="other"),
        signature("eA==", schemaVersion=1),
    ]
    answer_signatures(server, {"signatures": listed})
    digest = image.descriptor.digest
    without = client.store(server.host, "ns/name")
    without.resolve("latest")
    assert not without.signatures(digest)
    assert not server.requests("GET", "/extensions/")
    server.faults.add(MARK)
    store = client.destination(server.host, "ns/name")
    store.resolve("latest")
    assert store.signatures(digest) == [b"one"]


def test_signatures_of_a_known_image(
    server: RegistryServer, store: RegistryStore
) -> None:
    """A manifest that was read by its digest tells of them as well."""
    image = content.image("signed")
    put(server.content.store("ns/name"), image, "latest")
    answer_signatures(server, {"signatures": [signature("b25l")]})
    server.faults.add(MARK)
    with store.fetch(image.descriptor) as manifest:
        assert manifest.read() == image.manifest.data
    assert store.signatures(image.descriptor.digest) == [b"one"]


def test_images_without_signatures(
    server: RegistryServer, store: RegistryStore
) -> None:
    """They are asked for where GET alone tells of the extension, too."""
    image = content.image("unsigned")
    put(server.content.store("ns/name"), image, "latest")
    server.behaviour.head = False
    server.faults.add(MARK)
    store.resolve("latest")
    assert not store.signatures(image.descriptor.digest)
    assert len(server.requests("GET", "/extensions/")) == 1


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"signatures": 1},
        {"signatures": [1]},
        {"signatures": [signature("?")]},
        {"signatures": [signature("")] * 1025},
    ],
)
def test_bad_lists_of_signatures(
    server: RegistryServer, store: RegistryStore, document: object
) -> None:
    """A list that is not as specified is no list of signatures."""
    image = content.image("signed")
    put(server.content.store("ns/name"), image, "latest")
    answer_signatures(server, document)
    server.faults.add(MARK)
    store.resolve("latest")
    with pytest.raises(errors.InvalidContent, match="signatures"):
        store.signatures(image.descriptor.digest)


@pytest.mark.parametrize("size", [0, 10, 300_000])
def test_content_is_sent_before_its_digest(
    server: RegistryServer, client: RegistryClient, size: int
) -> None:
    """The request that completes an upload has no content to lose, and is sent
    again alone.
    """
    server.fail("PUT", status=503)
    server.faults.add(MARK)
    blob = content.blob("in parts", size)
    push(client.destination(server.host, "ns/name"), blob)
    assert server.content.store("ns/name").exists(blob.descriptor)
    (part,) = server.requests("PATCH")
    assert part.headers["Content-Length"] == str(size)
    assert "Content-Range" not in part.headers
    sent = [end.headers["Content-Length"] for end in server.requests("PUT")]
    assert sent == ["0", "0"]


def test_an_end_that_is_refused_for_now(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """The request that completes an upload is sent again without content."""
    server.fail("PUT", status=503)
    server.faults.add(MARK)
    blob = content.blob("end", 300_000)
    destination.push(blob.descriptor, blob.open())
    assert server.content.store("ns/name").exists(blob.descriptor)
    sent = [request.method for request in server.requests(path=_UPLOAD)]
    assert sent == ["PATCH", "PUT", "PUT"]


def test_a_full_upload_is_not_used_again(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """After the last attempt to complete it the next push begins anew."""
    server.fail("PUT", status=503, times=5)
    server.faults.add(MARK)
    blob = content.blob("end", 300_000)
    with pytest.raises(errors.ServerFault, match="503"):
        destination.push(blob.descriptor, blob.open())
    destination.push(blob.descriptor, blob.open())
    assert server.content.store("ns/name").exists(blob.descriptor)


def test_half_of_a_blob_is_never_completed(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """Pulp would keep the first half of a PUT under the whole's digest."""
    server.faults.add(MARK)
    blob = content.blob("half", 3 * 1024 * 1024)
    with pytest.raises(errors.Unreachable, match="the source is gone"):
        destination.push(blob.descriptor, Broken(blob.data, server))
    sent = [request.method for request in server.requests(path=_UPLOAD)]
    assert sent == ["PATCH", "DELETE"]


def test_what_was_pushed_before_is_found() -> None:
    """After a mount that opens no upload, HEAD looks for large blobs.

    Blobs without an image cannot be mounted, and are not sent again all the
    same. Small ones are, as Pulp says that it has an empty layer.
    """
    blobs = [content.blob(n, 200_000) for n in range(2)]
    small = content.blob("small", 100)
    behaviour = Behaviour(mounts_of_images=True)
    with (
        RegistryServer(behaviour=behaviour) as server,
        RegistryClient() as client,
    ):
        target = server.content.store("ns/name")
        for blob in (*blobs, small):
            target.push(blob.descriptor, blob.open())
        store = client.destination(server.host, "ns/name")
        assert all(store.begin(blob.descriptor) for blob in blobs)
        assert not store.begin(content.blob("new", 200_000).descriptor)
        assert not store.begin(small.descriptor)
        assert len(server.requests("POST", "mount=")) == 1
        assert len(server.requests("HEAD", "/blobs/")) == 3


def test_a_mount_from_its_own_repository_needs_no_other_token() -> None:
    """One token serves everything that is done in one repository."""
    with (
        RegistryServer(gate=Bearer("me", "secret")) as server,
        with_password(server) as client,
    ):
        image = content.image("one token")
        store = client.destination(server.host, "ns/name")
        assert not store.begin(image.parts[0].descriptor)
        put(store, image, "latest")
        assert len(server.requests("GET", "/token")) == 1
