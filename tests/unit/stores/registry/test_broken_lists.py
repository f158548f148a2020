"""Lists that break off or make no sense are asked for again."""

from __future__ import annotations

import pytest

from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import RegistryServer


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
    store_suite.store_all(store, image)
    store.tag(image.descriptor, "latest")
    server.faults.add(fault)

    assert list(client.store(server.host, "ns/name").tags()) == ["latest"]
    assert len(server.requests("GET", "/tags/")) == 2
