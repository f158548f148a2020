"""How few requests it takes to know that nothing refers to an image."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.testing.streams import put
from tests import servers

LISTS = "/(referrers|tags)/"
OLD = Behaviour(referrers=False)


@pytest.fixture
def client() -> Iterator[RegistryClient]:
    with RegistryClient() as client:
        yield client


def fill(registry: RegistryServer, name: str) -> content.Image:
    image = content.image(name)
    put(registry.content.store(name), image, "1")
    return image


def test_each_subject_is_asked_for(client: RegistryClient) -> None:
    """A 404 about one subject says nothing about others."""
    with RegistryServer(behaviour=OLD) as registry:
        for name in ("a", "b", "c"):
            image = fill(registry, name)
            store = client.store(registry.host, name)
            assert store.referrers(image.descriptor) == []
        assert len(registry.requests("GET", "/referrers/")) == 3


def test_listed_tags_need_no_second_look(client: RegistryClient) -> None:
    """The list of tags tells whether the fallback tag exists."""
    with RegistryServer(behaviour=OLD) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        assert list(store.tags()) == ["1"]
        assert store.referrers(image.descriptor) == []
        assert registry.requests("", "/manifests/sha256-") == []


NO_LISTS = [
    Fault(path=LISTS, times=None, status=400),
    Fault(path=LISTS, times=None, status=405),
    Fault(path=LISTS, times=None, status=410),
    Fault(path=LISTS, times=None, status=501),
    Fault(
        path=LISTS,
        times=None,
        status=400,
        body=b'{"errors": [{"code": "DIGEST_INVALID"}]}',
    ),
    Fault(
        path=LISTS,
        times=None,
        body=b"<html>",
        headers={"Content-Type": "text/html"},
    ),
]


@pytest.mark.parametrize("fault", NO_LISTS)
def test_registry_without_lists_says_so(
    client: RegistryClient, fault: Fault
) -> None:
    """A registry may say in many ways that it has no such list; it is told."""
    with RegistryServer(faults=[fault]) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        with pytest.raises(errors.Refused):
            store.referrers(image.descriptor)
        with pytest.raises(errors.Refused):
            store.tags()
        assert len(registry.requests("GET", "/referrers/")) == 1


@pytest.mark.parametrize("answer", ["limited", "silent"])
def test_list_of_referrers_on_another_host(
    client: RegistryClient, answer: str
) -> None:
    """A list that is elsewhere and refused there is none, as on ghcr.io."""
    elsewhere = f"http://127.0.0.1:{servers.free_port()}"
    limited = Fault(status=429, headers={"Retry-After": "90"}, times=None)
    with (
        RegistryServer(faults=[limited]) as pages,
        RegistryServer(behaviour=OLD) as registry,
    ):
        target = pages.url if answer == "limited" else elsewhere
        registry.fail(
            path="/referrers/",
            status=303,
            headers={"Location": f"{target}/pages"},
            times=None,
        )
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        assert store.referrers(image.descriptor) == []
        assert len(pages.log) == (answer == "limited")


@pytest.mark.parametrize("body", [b"{}", b'{"manifests": 7}'])
def test_list_of_referrers_that_is_no_index(
    client: RegistryClient, body: bytes
) -> None:
    """JSON that is no index is no list of referrers."""
    fault = Fault(path="/referrers/", body=body)
    with RegistryServer(faults=[fault]) as registry:
        image = fill(registry, "a")
        with pytest.raises(errors.Refused, match="manifests is not a list"):
            client.store(registry.host, "a").referrers(image.descriptor)


def test_empty_list_of_referrers(client: RegistryClient) -> None:
    """A list that is null has nothing in it."""
    fault = Fault(path="/referrers/", body=b'{"manifests": null}')
    with RegistryServer(faults=[fault]) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        assert store.referrers(image.descriptor) == []


def test_list_under_a_tag_where_the_api_is_refused(
    client: RegistryClient,
) -> None:
    """Where the API is refused, the list under the fallback tag is read."""
    fault = Fault(path="/referrers/", status=405, times=None)
    with RegistryServer(faults=[fault], behaviour=OLD) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        artifact = content.artifact("s", image.descriptor)
        for blob in (*image.pieces, *artifact.pieces):
            store.push(blob.descriptor, blob.open())
        (found,) = store.referrers(image.descriptor)
        assert found.digest == artifact.descriptor.digest


def test_own_referrers_are_seen(client: RegistryClient) -> None:
    """A referrer pushed after the tags were listed is found."""
    with RegistryServer(behaviour=OLD) as registry:
        image = fill(registry, "a")
        store = client.store(registry.host, "a")
        assert list(store.tags()) == ["1"]
        artifact = content.artifact("s", image.descriptor)
        for piece in artifact.pieces:
            store.push(piece.descriptor, piece.open())
        found = store.referrers(image.descriptor)
        assert [each.digest for each in found] == [artifact.descriptor.digest]
