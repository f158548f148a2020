"""The catalog of a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.retry import ONE_ATTEMPT
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Bearer
from imageprep_client.testing.registry import Behaviour, RegistryServer

NAMES = ["a", "b/c", "d", "e/f/g", "h"]
NEXT = {"Link": "<https://elsewhere.example/v2/_catalog>; rel=next"}


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """Five repositories, told two at a time."""
    with RegistryServer(behaviour=Behaviour(page=2)) as registry:
        for name in NAMES:
            for piece in content.image(name).pieces:
                with piece.open() as stream:
                    registry.content.store(name).push(piece.descriptor, stream)
        yield registry


def repositories(server: RegistryServer) -> list[str]:
    """The warnings that the client gives."""
    with RegistryClient(policy=ONE_ATTEMPT) as client:
        return client.catalog(server.host).repositories()


def test_pages(server: RegistryServer) -> None:
    """All pages are read, in as many requests."""
    assert repositories(server) == NAMES
    assert len(server.requests("GET", "/v2/_catalog")) == 3


def test_next_page_elsewhere(server: RegistryServer) -> None:
    """A next page on another host is asked for by the last name, here."""
    server.faults.add(Fault(path="_catalog", headers=NEXT))
    assert repositories(server) == sorted(NAMES)


@pytest.mark.parametrize("document", [{}, {"repositories": None}])
def test_nothing(server: RegistryServer, document: object) -> None:
    """No list is an empty one."""
    body = json.dumps(document).encode()
    server.faults.add(Fault(path="_catalog", body=body, headers={"Link": ""}))
    assert repositories(server) == []


@pytest.mark.parametrize("value", ["abc", {"a": "b"}, 7, True])
def test_no_list(server: RegistryServer, value: object) -> None:
    """Another type than a list is an error, as nothing is known then."""
    body = json.dumps({"repositories": value}).encode()
    server.faults.add(Fault(path="_catalog", body=body, headers={"Link": ""}))
    with pytest.raises(errors.Refused, match="repositories is not a list"):
        repositories(server)


def test_bad_names(server: RegistryServer) -> None:
    """A name that cannot be a repository never becomes a URL or a path."""
    names = ["ok", "../../etc", "UPPER", 7, None, "a/../b", "x" * 300]
    body = json.dumps({"repositories": names}).encode()
    server.faults.add(Fault(path="_catalog", body=body, headers={"Link": ""}))
    assert repositories(server) == ["ok"]


def test_no_catalog() -> None:
    """A registry without one says 404, and what else can be done."""
    with (
        RegistryServer(behaviour=Behaviour(catalog=False)) as registry,
        pytest.raises(errors.NotFound, match="catalog") as caught,
    ):
        repositories(registry)
    assert "name an image" in str(caught.value.hint)


def test_denied() -> None:
    """A registry that shows it to others only says 401."""
    with (
        RegistryServer(gate=Bearer("me", "secret")) as registry,
        pytest.raises(errors.AccessDenied) as caught,
    ):
        repositories(registry)
    assert "keep no catalog" in str(caught.value.hint)
