"""Requests that are sent before their response is needed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from imageprep_client import errors
from imageprep_client.http import timeouts
from imageprep_client.http.transport import Timeouts
from imageprep_client.stores.memory import MemoryRegistry
from imageprep_client.stores.registry import session
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.replicas import Prefetch
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import RegistryServer

IMAGE = content.image("x")
CONFIG = IMAGE.parts[-1].descriptor


def filled() -> MemoryRegistry:
    registry = MemoryRegistry()
    store = registry.store("ns/name")
    for piece in IMAGE.pieces:
        store.push(piece.descriptor, piece.open())
    store.tag(IMAGE.descriptor, "1")
    return registry


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    with RegistryServer(filled()) as registry:
        yield registry


@pytest.fixture
def listed(store: RegistryStore) -> RegistryStore:
    """The repository, after its tags were listed."""
    assert list(store.tags()) == ["1"]
    return store


READS: dict[str, Callable[[RegistryStore], object]] = {
    "/manifests/1": lambda store: store.resolve_ahead("1"),
    "/manifests/sha256": lambda store: store.fetch(IMAGE.descriptor).read(),
    "/blobs/": lambda store: store.fetch(CONFIG).read(),
    "/referrers/": lambda store: store.referrers(IMAGE.descriptor),
}


def prefetch(store: RegistryStore, path: str) -> contextlib.closing[Prefetch]:
    sent = {
        "/manifests/1": lambda: store.prefetch("1"),
        "/manifests/sha256": lambda: store.prefetch(IMAGE.descriptor),
        "/blobs/": lambda: store.prefetch(CONFIG),
        "/referrers/": lambda: store.prefetch_referrers(IMAGE.descriptor),
    }[path]()
    assert sent is not None
    return contextlib.closing(sent)


@pytest.mark.parametrize("path", READS)
def test_read(
    server: RegistryServer,
    listed: RegistryStore,
    make_client: Callable[..., RegistryClient],
    path: str,
) -> None:
    """The read that follows has the same result, and sends nothing."""
    wanted = READS[path](make_client().store(server.host, "ns/name"))
    server.log.clear()
    with prefetch(listed, path) as sent:
        sent.wait()
        assert READS[path](listed) == wanted
    assert [r.method for r in server.log if path in r.path] == ["GET"]


def test_closed(server: RegistryServer, listed: RegistryStore) -> None:
    """A response that was not used in time is not used later."""
    with prefetch(listed, "/manifests/1") as sent:
        sent.wait()
    other = content.image("other")
    changed = server.content.store("ns/name")
    for piece in other.pieces:
        changed.push(piece.descriptor, piece.open())
    changed.tag(other.descriptor, "1")
    assert listed.resolve_ahead("1").digest == other.descriptor.digest


def test_given_up(server: RegistryServer, listed: RegistryStore) -> None:
    """A request whose response is not awaited disturbs no other."""
    with prefetch(listed, "/blobs/"):
        pass
    assert listed.resolve_ahead("1").digest == IMAGE.descriptor.digest
    assert listed.fetch(CONFIG).read() == IMAGE.parts[-1].data


def test_several(server: RegistryServer, listed: RegistryStore) -> None:
    """Requests use connections of their own, which are used again."""
    # The manifest of a tag is kept, so that nothing would read it.
    paths = [path for path in READS if "sha256" not in path]
    for _ in range(3):
        with contextlib.ExitStack() as stack:
            for path in paths:
                stack.enter_context(prefetch(listed, path)).wait()
            for read in READS.values():
                read(listed)
    assert server.connections == len(paths)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_unwell(
    server: RegistryServer, listed: RegistryStore, status: int
) -> None:
    """A request that has to be repeated is repeated by the read."""
    server.fail(path="/blobs/", status=status)
    with prefetch(listed, "/blobs/") as sent, pytest.raises(errors.StoreError):
        sent.wait()
    assert listed.fetch(CONFIG).read() == IMAGE.parts[-1].data
    assert server.connections == 1


def test_damaged(server: RegistryServer, listed: RegistryStore) -> None:
    """A body that breaks off is read again."""
    server.fail(path="/manifests/", truncate=10)
    with prefetch(listed, "/manifests/1") as sent:
        sent.wait()
        assert listed.resolve_ahead("1").digest == IMAGE.descriptor.digest


def test_broken(server: RegistryServer, listed: RegistryStore) -> None:
    """A connection without a response is an error, once."""
    server.fail(path="/blobs/", reset=True)
    with prefetch(listed, "/blobs/") as sent:
        with pytest.raises(errors.Unreachable):
            sent.wait()
        assert listed.fetch(CONFIG).read() == IMAGE.parts[-1].data


def test_silent(
    server: RegistryServer, make_client: Callable[..., RegistryClient]
) -> None:
    """Silence ends after the time that a read has."""
    server.fail(path="/blobs/", delay=30)
    client = make_client(timeouts=Timeouts(2, 1))
    store = client.store(server.host, "ns/name")
    list(store.tags())
    with (
        prefetch(store, "/blobs/") as sent,
        pytest.raises(errors.Unreachable) as caught,
    ):
        sent.wait()
    assert caught.value.is_timeout


def test_silent_after_prompt_responses(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silence is noticed soon where the responses ahead were prompt."""
    # Without them the timeout would be the maximum.
    monkeypatch.setattr(timeouts, "_FIRST", 10.0)
    client = make_client(timeouts=Timeouts(2, 30))
    store = client.store(server.host, "ns/name")
    list(store.tags())
    for _ in range(40):
        with prefetch(store, "/blobs/") as sent:
            sent.wait()
            store.fetch(CONFIG).read()
    monkeypatch.setattr(timeouts, "_LEAST", 0.2)
    server.fail(path="/blobs/", delay=30)
    begin = time.monotonic()
    with prefetch(store, "/blobs/") as sent, pytest.raises(errors.Unreachable):
        sent.wait()
    assert time.monotonic() - begin < 20


def test_redirect(server: RegistryServer, listed: RegistryStore) -> None:
    """A redirect is followed by the read alone."""
    target = f"/v2/ns/name/blobs/{CONFIG.digest}"
    server.fail(
        path="/blobs/", status=307, headers={"Location": target}, times=2
    )
    with prefetch(listed, "/blobs/") as sent:
        with pytest.raises(errors.StoreError):
            sent.wait()
        assert listed.fetch(CONFIG).read() == IMAGE.parts[-1].data


@pytest.mark.parametrize("status", [429, 503])
def test_limited(
    server: RegistryServer, listed: RegistryStore, status: int
) -> None:
    """A registry that wants fewer requests gets none ahead."""
    fault = Fault(path="/blobs/", status=status, headers={"Retry-After": "0"})
    server.faults.add(fault)
    with prefetch(listed, "/blobs/") as sent, pytest.raises(errors.StoreError):
        sent.wait()
    assert listed.prefetch("1") is None


def test_pauses(server: RegistryServer, listed: RegistryStore) -> None:
    """The pause that a registry asks for is kept."""
    server.fail(path="/blobs/", status=429, headers={"Retry-After": "1"})
    begin = time.monotonic()
    with (
        prefetch(listed, "/blobs/") as sent,
        pytest.raises(errors.TooManyRequests),
    ):
        sent.wait()
    assert listed.fetch(CONFIG).read() == IMAGE.parts[-1].data
    assert time.monotonic() - begin >= 1


def test_slow_connections(
    store: RegistryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it takes long to connect, several threads do it at once."""
    monkeypatch.setattr(session, "_CONNECTING", 0)
    monkeypatch.setattr(session, "_REUSED", 0)
    list(store.tags())
    with prefetch(store, "/manifests/1"), prefetch(store, "/blobs/"):
        assert store.prefetch("1") is None


def test_connections_end(
    server: RegistryServer,
    store: RegistryStore,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where each response ends its connection, it takes long soon."""
    monkeypatch.setattr(session, "_CONNECTING", 0.01)
    server.fail(headers={"Connection": "close"}, times=None)
    list(store.tags())
    sent = 0
    while sent < 10_000 and (prefetched := store.prefetch("1")):
        with contextlib.closing(prefetched):
            prefetched.wait()
            store.resolve_ahead("1")
        sent += 1
    assert 0 < sent < 10_000


def test_expired_token(make_client: Callable[..., RegistryClient]) -> None:
    """A token that is refused by then is replaced."""
    gate = Bearer(anonymous=True)
    with RegistryServer(filled(), gate=gate) as server:
        store = make_client().store(server.host, "ns/name")
        list(store.tags())
        with prefetch(store, "/blobs/") as sent:
            sent.wait()
            assert store.fetch(CONFIG).read() == IMAGE.parts[-1].data
        gate.revoke()
        with prefetch(store, "/blobs/") as sent:
            sent.wait()
            assert store.fetch(CONFIG).read() == IMAGE.parts[-1].data
    assert len(server.requests("GET", "/blobs/")) == 3


def test_list_under_a_tag(
    server: RegistryServer, store: RegistryStore
) -> None:
    """Referrers that may be under a tag take several requests."""
    assert store.prefetch_referrers(IMAGE.descriptor) is None
    store.tags()
    prefetched = store.prefetch_referrers(IMAGE.descriptor)
    assert prefetched is not None
    prefetched.close()
