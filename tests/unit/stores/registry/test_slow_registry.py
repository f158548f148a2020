"""A registry that sends a little at a time is given up."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

import pytest

from imageprep_client import errors
from imageprep_client.http.transport import Timeouts
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import Behaviour, RegistryServer

MakeClient = Callable[..., RegistryClient]
BLOB = content.blob("slow", 60_000)
ONCE = {"policy": RetryPolicy(attempts=1), "timeouts": Timeouts(2, 0.3)}
#: A head of some 200 bytes would take 20 s.
TRICKLE = Fault(trickle=0.1, times=None)


def test_trickled_heads(
    server: RegistryServer, make_client: MakeClient
) -> None:
    """A whole head has the time of one wait."""
    server.faults.add(TRICKLE)
    store = make_client(**ONCE).store(server.host, "ns/name")
    begin = time.monotonic()
    with pytest.raises(errors.Unreachable, match="timed out"):
        store.resolve("latest")
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize("path", ["/v2/", "/token"])
def test_trickled_heads_of_token_servers(
    make_client: MakeClient, path: str
) -> None:
    """So do the heads of challenges and of token servers."""
    with RegistryServer(gate=Bearer(anonymous=True)) as server:
        server.fail(path=path, trickle=0.1, times=None)
        store = make_client(**ONCE).store(server.host, "ns/name")
        with pytest.raises(errors.Unreachable, match="timed out"):
            store.resolve("latest")


@pytest.mark.parametrize("framing", ["length", "close"])
def test_slow_bodies(
    make_client: MakeClient, framing: Literal["length", "close"]
) -> None:
    """A body has a least speed."""
    behaviour = Behaviour(framing=framing)
    with RegistryServer(behaviour=behaviour) as server:
        server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
        server.fail("GET", "/blobs/", drip=0.3, times=None)
        patient = {**ONCE, "timeouts": Timeouts(2, 1)}
        store = make_client(**patient).store(server.host, "ns/name")
        begin = time.monotonic()
        with pytest.raises(errors.Unreachable, match="under 8 KiB a second"):
            store_suite.read(store, BLOB.descriptor)
        assert time.monotonic() - begin < 15


@pytest.mark.parametrize("size", [60_000, 300_000])
def test_stored_after_the_timeout(
    server: RegistryServer, make_client: MakeClient, size: int
) -> None:
    """Content that a registry takes long to store is not sent for ever."""
    blob = content.blob("large", size)
    server.fail("PUT", "/uploads/", delay=1.5, times=None)
    policy = RetryPolicy(attempts=8, base=0.2, cap=0.2)
    client = make_client(policy=policy, timeouts=Timeouts(2, 0.5))
    store = client.destination(server.host, "ns/name")

    def push() -> None:
        store_suite.push(store, blob)

    policy.repeat(push, errors.StoreError)
    assert server.content.store("ns/name").exists(blob.descriptor)
    assert len(server.requests("PUT", "/uploads/")) < 8


def test_slow_beginnings_are_waited_for(
    server: RegistryServer, make_client: MakeClient
) -> None:
    """An answer that arrives in time is read, however slowly it comes."""
    server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    server.fail("GET", "/blobs/", drip=0.02, times=None)
    store = make_client(timeouts=Timeouts(2, 3)).store(server.host, "ns/name")
    assert store_suite.read(store, BLOB.descriptor) == BLOB.data
