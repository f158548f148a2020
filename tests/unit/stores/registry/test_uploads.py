"""Uploads behind proxies that refuse a part of the requests."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import push

SMALL = content.blob("uploads", 50_000)
LARGE = content.blob("uploads", 3_000_000)
_OPEN = r"/uploads/$"
_CHUNK = 1024 * 1024


@pytest.fixture
def other() -> Iterator[RegistryServer]:
    """Another server, whose address the registry names for uploads."""
    with RegistryServer() as registry:
        yield registry


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("blob", [SMALL, LARGE], ids=["small", "large"])
def test_what_was_refused_unread_goes_on(
    server: RegistryServer,
    destination: RegistryStore,
    status: int,
    blob: content.Piece,
) -> None:
    """A proxy that permits no two requests at once gets the content once: no
    attempt opens an upload before it, which would be the one permitted.
    """
    server.fail("PUT", status=status, times=2)
    # The caller reads a stream again.
    RetryPolicy(base=0.001).repeat(
        lambda: destination.push(blob.descriptor, blob.open()),
        errors.ServerFault,
    )
    assert server.content.store("ns/name").exists(blob.descriptor)
    assert len(server.requests("POST", _OPEN)) == 1


@pytest.mark.parametrize("status", [400, 404, 416])
def test_uploads_that_are_gone_are_opened_again(
    server: RegistryServer, client: RegistryClient, status: int
) -> None:
    """An upload may be lost between two attempts, whatever the answer is."""
    server.fail("PUT", status=503)
    server.fail("PUT", status=status)
    push(client.destination(server.host, "ns/name"), SMALL)
    assert server.content.store("ns/name").exists(SMALL.descriptor)
    assert len(server.requests("POST", _OPEN)) == 2
    assert not server.requests("PATCH")


def test_uploads_that_are_denied_are_not_opened_again(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A lack of permission is none of an upload that may be lost."""
    server.fail("PUT", status=503)
    server.fail("PUT", status=403)
    with pytest.raises(errors.AccessDenied):
        push(client.destination(server.host, "ns/name"), SMALL)
    assert len(server.requests("POST", _OPEN)) == 1


@pytest.mark.parametrize("status", [429, 503])
def test_chunks_that_were_refused_unread_go_on(
    server: RegistryServer, destination: RegistryStore, status: int
) -> None:
    """A chunk is sent again alone, not with all that were taken before."""
    server.fail(larger_than=_CHUNK, status=413, times=None)
    with pytest.raises(errors.ServerFault, match="chunks are tried"):
        destination.push(LARGE.descriptor, LARGE.open())
    server.fail("PATCH", status=status, skip=1, times=3)
    server.fail("PUT", status=status)
    destination.push(LARGE.descriptor, LARGE.open())
    assert server.content.store("ns/name").exists(LARGE.descriptor)
    assert len(server.requests("POST", _OPEN)) == 2


class Spoiling(Observer):
    """Has a registry keep a part of what it refuses for now."""

    def __init__(self, server: RegistryServer) -> None:
        self._uploads = server.uploads

    def spoil(self) -> None:
        for upload in self._uploads.values():
            upload += b"part"

    def retrying(
        self, what: str, attempt: int, seconds: float, limit: int
    ) -> None:
        self.spoil()


@pytest.mark.parametrize("size", [200_000, 3_000_000])
def test_what_was_refused_half_read_begins_anew(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    size: int,
) -> None:
    """The proxy of a service mesh answers 503 when it loses the registry,
    which may have a part by then. Large content is in chunks here.
    """
    spoiling = Spoiling(server)
    client = make_client(observer=spoiling)
    store = client.destination(server.host, "ns/name")
    blob = content.blob("spoilt", size)

    def push() -> None:
        spoiling.spoil()
        store.push(blob.descriptor, blob.open())

    server.fail(larger_than=_CHUNK, status=413, times=None)
    server.fail("PUT", larger_than=0, status=503)
    server.fail("PATCH", skip=1, status=503)
    RetryPolicy(base=0.001).repeat(push, errors.ServerFault)
    assert server.content.store("ns/name").exists(blob.descriptor)
    # Large content is refused as a whole first.
    assert len(server.requests("POST", _OPEN)) == (2 if size < _CHUNK else 3)
    # A refusal for good ends the push.
    server.fail("PATCH", status=400, times=None)
    server.fail("PUT", status=400, times=None)
    with pytest.raises(errors.Refused):
        store.push(blob.descriptor, blob.open())


def test_bad_content_after_a_refusal_for_now(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """An upload that is used again has no part in a failure of the source."""
    server.fail("PUT", status=503)
    with pytest.raises(errors.ServerFault, match="503"):
        destination.push(LARGE.descriptor, LARGE.open())
    with pytest.raises(errors.DigestMismatch):
        destination.push(LARGE.descriptor, io.BytesIO(LARGE.data[::-1]))


@pytest.mark.parametrize("status", [301, 401, 404, 405])
def test_misplaced_uploads(
    server: RegistryServer,
    other: RegistryServer,
    destination: RegistryStore,
    status: int,
) -> None:
    """A proxy that does not pass on Host makes a registry name another server
    for its uploads, whose refusal is no word of the registry.
    """
    place = f"{other.url}/v2/ns/name/blobs/uploads/1"
    server.fail("POST", headers={"Location": place}, times=None)
    other.fail(status=status, times=None)
    with pytest.raises(errors.StoreError) as caught:
        destination.push(SMALL.descriptor, SMALL.open())
    assert f"{server.host} names this address" in str(caught.value.hint)
    assert "X-Forwarded-Proto" in str(caught.value.hint)


@pytest.mark.parametrize("status", [413, 503])
def test_misplaced_uploads_with_other_causes(
    server: RegistryServer,
    other: RegistryServer,
    destination: RegistryStore,
    status: int,
) -> None:
    """A limit of size or of requests is no sign of a wrong address."""
    place = f"{other.url}/v2/ns/name/blobs/uploads/1"
    server.fail("POST", headers={"Location": place}, times=None)
    other.fail(status=status, times=None)
    for _ in range(2):
        with pytest.raises(errors.StoreError, match=str(status)) as caught:
            destination.push(SMALL.descriptor, SMALL.open())
    assert "names this address" not in str(caught.value.hint)


def test_uploads_below_another_path(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A proxy that rewrites paths has to rewrite those of answers, too."""
    headers = {"Location": "/v2/name/blobs/uploads/1"}
    server.fail("POST", headers=headers, times=None)
    server.fail("PUT", "/v2/name/", status=405)
    with pytest.raises(errors.Refused) as caught:
        push(client.destination(server.host, "ns/name"), SMALL)
    assert "rewrite Location" in str(caught.value.hint)


def test_uploads_at_another_path_that_are_not_permitted(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Google Artifact Registry has its uploads there; a lack of permission is
    one of a login that was sent, too.
    """
    headers = {"Location": "/artifacts-uploads/1"}
    server.fail("POST", headers=headers, times=None)
    server.fail("PUT", status=403, body=b"", times=None)
    with pytest.raises(errors.AccessDenied) as caught:
        push(client.destination(server.host, "ns/name"), SMALL)
    assert "podman login" in str(caught.value.hint)
    assert "names this address" in str(caught.value.hint)


def test_refusals_of_an_upload_that_was_used_again(
    server: RegistryServer, make_client: Callable[..., RegistryClient]
) -> None:
    """After the last attempt the error is that of the registry."""
    server.fail("PUT", status=503)
    server.fail("PUT", status=405)
    client = make_client(policy=RetryPolicy(attempts=2, base=0.001))
    with pytest.raises(errors.ServerFault) as caught:
        push(client.destination(server.host, "ns/name"), SMALL)
    assert caught.value.status == 405
    assert "read-only" in str(caught.value.hint)


def test_uploads_without_a_location(
    server: RegistryServer, make_client: Callable[..., RegistryClient]
) -> None:
    """A registry that names no place for content is not asked again."""
    no_place = {"Location": None}
    server.fail("POST", headers=no_place, times=None)
    store = make_client().destination(server.host, "ns/name")
    with pytest.raises(errors.ServerFault, match="without a Location"):
        push(store, SMALL)
    assert len(server.requests("POST")) == 1


@pytest.mark.parametrize("status", [500, 502])
def test_broken_links_at_a_destination(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    status: int,
) -> None:
    """A registry that was killed answers so for what it half wrote: it is
    absent where it is pushed, which replaces it, and a failure elsewhere.
    """
    policy = RetryPolicy(attempts=6, base=0.001, cap=0.01, same=3)
    client = make_client(policy=policy)
    store = client.destination(server.host, "ns/name")
    server.fail("HEAD", "/manifests/1|/blobs/", status=status, times=None)
    with pytest.raises(errors.NotFound):
        store.resolve("1")
    assert not store.exists(SMALL.descriptor)
    assert len(server.requests("HEAD", "/manifests/1")) == 3
    server.fail("GET", "/manifests/1", status=status, times=None)
    with pytest.raises(errors.ServerFault, match=str(status)):
        client.store(server.host, "ns/name").resolve("1")


@pytest.mark.parametrize(
    ("path", "status", "more"), [("", 500, 1), ("/manifests/2", 503, 0)]
)
def test_failing_destinations_are_not_empty(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    path: str,
    status: int,
    more: int,
) -> None:
    """A registry that answers nothing, or a proxy that limits requests, is
    waited for: what they do not answer for may be there. Whether the registry
    answers anything is asked once in a while.
    """
    policy = RetryPolicy(attempts=6, base=0.001, cap=0.01, same=3)
    store = make_client(policy=policy).destination(server.host, "ns/name")
    with pytest.raises(errors.NotFound):
        store.resolve("1")
    server.fail(path=path, status=status, times=None)
    before = len(server.requests())
    with pytest.raises(errors.ServerFault, match=str(status)):
        store.resolve("2")
    assert len(server.requests("HEAD", "/manifests/2")) == 6
    assert len(server.requests()) - before == 6 + more


class Unreached(io.BytesIO):
    """Content of a source whose proxy breaks the connection."""

    def read(self, size: int | None = -1, /) -> bytes:
        error = errors.Unreachable("reset")
        error.proxy = "http://proxy.example"
        raise error


def test_source_that_is_out_of_reach(
    server: RegistryServer, destination: RegistryStore
) -> None:
    """It says nothing about the registry: the next upload is as any other."""
    with pytest.raises(errors.Unreachable):
        destination.push(LARGE.descriptor, Unreached())
    destination.push(LARGE.descriptor, LARGE.open())
    methods = {request.method for request in server.requests(path="/blobs/")}
    assert methods == {"POST", "PUT", "DELETE"}
