"""Lists that break off or make no sense are asked for again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from imageprep_client import errors
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put


@pytest.mark.parametrize(
    "fault",
    [Fault(path="/tags/", truncate=5), Fault(path="/tags/", corrupt=0)],
    ids=["cut short", "a wrong byte"],
)
def test_tags(
    server: RegistryServer, client: RegistryClient, fault: Fault
) -> None:
    """The second answer is taken."""
    image = content.image("lists")
    store = server.content.store("ns/name")
    put(store, image, "latest")
    server.faults.add(fault)

    assert list(client.store(server.host, "ns/name").tags()) == ["latest"]
    assert len(server.requests("GET", "/tags/")) == 2


@pytest.mark.parametrize(
    ("status", "down", "asked"),
    [(500, "/tags/", 3), (504, "/tags/", 3), (500, "", 6), (429, "/tags/", 6)],
)
def test_lists_that_alone_fail(
    server: RegistryServer,
    make_client: Callable[..., RegistryClient],
    status: int,
    down: str,
    asked: int,
) -> None:
    """A registry that answers all else soon counts as unable to list; one
    that answers nothing, or limits the rate, is waited for.
    """
    image = content.image("lists")
    store = server.content.store("ns/name")
    put(store, image, "latest")
    policy = RetryPolicy(attempts=6, base=0.001, cap=0.01, same=3)
    reading = make_client(policy=policy).store(server.host, "ns/name")
    assert reading.resolve("latest") == image.descriptor
    server.fail(path=down, status=status, times=None)

    with pytest.raises(errors.ServerFault, match=str(status)):
        list(reading.tags())
    assert len(server.requests("GET", "/tags/")) == asked


def test_lists_that_fail_where_all_is_limited(
    server: RegistryServer, make_client: Callable[..., RegistryClient]
) -> None:
    """A registry that limits the rate of other requests is waited for."""
    policy = RetryPolicy(attempts=6, base=0.001, cap=0.01, same=3)
    reading = make_client(policy=policy).store(server.host, "ns/name")
    server.fail(path="/tags/", status=500, times=None)
    server.fail(status=429, times=None)
    with pytest.raises(errors.ServerFault, match="500"):
        list(reading.tags())
    assert len(server.requests("GET", "/tags/")) == 6
