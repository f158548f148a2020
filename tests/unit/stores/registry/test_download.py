"""Blobs that break on the way are taken up where they broke."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.base import CHUNK
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from tests.recorder import Recorder

BLOB = content.blob("download", 3 * CHUNK + 17)


@pytest.fixture(autouse=True)
def _blob(server: RegistryServer) -> None:
    server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())


def fetch(client: RegistryClient, server: RegistryServer) -> bytes:
    with client.store(server.host, "ns/name").fetch(BLOB.descriptor) as got:
        return got.read()


def ranges(server: RegistryServer) -> list[str]:
    return [
        request.headers.get("Range", "")
        for request in server.requests("GET", "/blobs/")
    ]


def test_resumes_where_it_broke(
    server: RegistryServer, client: RegistryClient, observer: Recorder
) -> None:
    """Only what is missing is asked for, as a range with an end."""
    server.fail("GET", "/blobs/", truncate=CHUNK + 5)
    assert fetch(client, server) == BLOB.data
    first, second = ranges(server)
    assert first == ""
    start, _, end = second.removeprefix("bytes=").partition("-")
    assert 0 < int(start) <= CHUNK + 5
    assert int(end) == BLOB.descriptor.size - 1
    assert len(observer.retries) == 1


def test_gives_up_without_progress(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A registry that always breaks at once is given up."""
    server.fail("GET", "/blobs/", truncate=3, times=None)
    with pytest.raises(errors.Unreachable, match="closed with") as caught:
        fetch(client, server)
    assert caught.value.given_up
    assert len(ranges(server)) <= 25


def test_gives_up_at_the_same_byte(
    server: RegistryServer, client: RegistryClient
) -> None:
    """A registry has lost the rest of a blob if it never gets further.

    It answers, so that other content may be whole; the error names the blob.
    """
    server.fail("GET", "/blobs/", truncate=0, times=None)
    told = f"{BLOB.descriptor.digest}: each response breaks off after 0 of"
    with pytest.raises(errors.ServerFault, match=told) as caught:
        fetch(client, server)
    assert caught.value.isolated
    assert caught.value.given_up


@pytest.mark.parametrize(
    ("ranges", "faults"),
    [
        # Each break that comes after good progress is forgiven.
        (True, [{"truncate": CHUNK + 5, "times": None}]),
        # The request for the rest may fail for now, too.
        (True, [{"truncate": CHUNK}, {"status": 503}, {"reset": True}]),
        # When the registry begins again, what is known is skipped.
        (False, [{"truncate": CHUNK + 5}]),
        # A break within what is skipped counts as one more.
        (False, [{"truncate": 2 * CHUNK}, {"truncate": CHUNK}]),
    ],
    ids=["several", "after errors", "no ranges", "while skipping"],
)
def test_resumes(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    ranges: bool,
    faults: list[dict[str, Any]],
) -> None:
    """A blob comes whole however often it breaks on the way."""
    server.behaviour.ranges = ranges
    for fault in faults:
        server.fail("GET", "/blobs/", **fault)
    client = make_client(policy=RetryPolicy(attempts=3, base=0.001))
    assert fetch(client, server) == BLOB.data


def test_does_not_begin_for_ever(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Beginning again and again is bounded."""
    server.behaviour.ranges = False
    for part in (1, 2, 3, 3):
        server.fail("GET", "/blobs/", truncate=part * CHUNK + 5)
    with pytest.raises(errors.ServerFault, match="no ranges"):
        fetch(client, server)
    assert len(ranges(server)) == 4


@pytest.mark.parametrize(
    ("status", "header"),
    [
        (206, "bytes 7-8/9"),
        (206, "bytes */9"),
        (206, "nonsense"),
        (206, None),
        (416, f"bytes */{BLOB.descriptor.size}"),
    ],
)
def test_wrong_ranges(
    server: RegistryServer,
    client: RegistryClient,
    status: int,
    header: str | None,
) -> None:
    """The whole is asked for where a range is of no use, or refused."""
    server.fail("GET", "/blobs/", truncate=CHUNK)
    headers = {"Content-Range": header}
    server.fail("GET", "/blobs/", status=status, headers=headers)
    assert fetch(client, server) == BLOB.data
    assert ranges(server)[2:] == [""]


def test_units_of_ranges(
    server: RegistryServer, client: RegistryClient
) -> None:
    """The name of the unit may have any case."""
    server.fail("GET", "/blobs/", truncate=CHUNK)
    rest = f"Bytes {CHUNK}-{BLOB.descriptor.size - 1}/*"
    server.fail("GET", "/blobs/", headers={"Content-Range": rest})
    assert fetch(client, server) == BLOB.data
    assert len(ranges(server)) == 2


def test_corrupt_bytes(server: RegistryServer, client: RegistryClient) -> None:
    """A changed byte is noticed at the end."""
    server.fail("GET", "/blobs/", corrupt=CHUNK)
    with pytest.raises(errors.DigestMismatch):
        fetch(client, server)


@pytest.mark.parametrize("error", [-1, 1])
def test_wrong_length(
    server: RegistryServer, client: RegistryClient, error: int
) -> None:
    """A length that is not the descriptor's is refused unread."""
    server.fail("GET", "/blobs/", length_error=error)
    with pytest.raises(errors.SizeMismatch):
        fetch(client, server)


def test_too_much_without_a_length(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Without a length, reading stops after one byte too many."""
    server.fail(
        "GET",
        "/blobs/",
        headers={"Content-Length": None, "Connection": "close"},
        body=BLOB.data + b"x" * 100_000,
        length_error=1,
    )
    with pytest.raises(errors.SizeMismatch, match="more than"):
        fetch(client, server)


def test_too_little_without_a_length(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Without a length, an early end is a break like any other."""
    server.fail(
        "GET",
        "/blobs/",
        headers={"Content-Length": None, "Connection": "close"},
        truncate=CHUNK,
    )
    assert fetch(client, server) == BLOB.data
    assert ranges(server)[1].startswith(f"bytes={CHUNK}-")


def test_redirects_to_the_bytes(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Blobs may be on another server; its breaks are resumed as well."""
    with RegistryServer(server.content) as storage:
        server.behaviour.redirect_blobs = storage.url
        storage.fail("GET", "/blobs/", truncate=CHUNK)
        assert fetch(client, server) == BLOB.data
        assert len(ranges(storage)) == 2


def test_connections_are_kept(
    server: RegistryServer, client: RegistryClient
) -> None:
    """Small answers are read to their end, so connections are used again."""
    store = client.store(server.host, "ns/name")
    for _ in range(5):
        assert store.exists(BLOB.descriptor)
        fetch(client, server)
    assert server.connections <= 2


def test_connections_are_released(
    server: RegistryServer, client: RegistryClient
) -> None:
    """After a release a request makes a connection of its own."""
    store = client.store(server.host, "ns/name")
    assert store.exists(BLOB.descriptor)
    before = server.connections
    client.release()
    assert store.exists(BLOB.descriptor)
    assert server.connections == before + 1
