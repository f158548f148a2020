"""The catalog of a registry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Basic, Bearer
from imageprep_client.testing.registry import Behaviour, RegistryServer
from imageprep_client.testing.streams import store_all
from tests.once import ONE_ATTEMPT
from tests.recorder import Recorder

NAMES = ["a", "b/c", "d", "e/f/g", "h"]
NEXT = {"Link": "<https://elsewhere.example/v2/_catalog>; rel=next"}


class Personal(Bearer):
    """Answers anybody, and lists private repositories for their users only,
    as Quay does. Its token server knows no scope of the catalog.
    """

    def admits(self, authorization: str, scope: str) -> bool:
        return scope.startswith("registry:") or super().admits(
            authorization, scope
        )

    def lists(self, authorization: str, repository: str) -> bool:
        return repository == "a" or self.admits(authorization, "")


#: The answer of its token server to another scope than that of a repository.
UNKNOWN_SCOPE = Fault(path="/token.*scope=registry", status=400, times=None)


def fill(server: RegistryServer) -> None:
    for name in NAMES:
        store_all(server.content.store(name), content.image(name))


@pytest.fixture
def server() -> Iterator[RegistryServer]:
    """Five repositories, told two at a time."""
    with RegistryServer(behaviour=Behaviour(page=2)) as registry:
        fill(registry)
        yield registry


@pytest.fixture
def personal() -> Iterator[RegistryServer]:
    """Five repositories, one of them public."""
    gate = Personal("me", "secret")
    with RegistryServer(gate=gate, faults=[UNKNOWN_SCOPE]) as registry:
        fill(registry)
        yield registry


def repositories(
    server: RegistryServer,
    password: str | None = None,
    observer: Recorder | None = None,
) -> list[str]:
    """The catalog for everybody, or for the user with this password."""
    known = Credentials({server.host: ("me", password)} if password else {})
    with RegistryClient(
        Hosts(credentials=known), policy=ONE_ATTEMPT, observer=observer
    ) as client:
        return client.catalog(server.host).repositories()


def test_pages(server: RegistryServer) -> None:
    """All pages are read, in as many requests."""
    assert repositories(server) == NAMES
    assert len(server.requests("GET", "/v2/_catalog")) == 3


def test_next_page_elsewhere(server: RegistryServer) -> None:
    """A next page on another host is asked for by the last name, here."""
    server.fail(path="_catalog", headers=NEXT)
    assert repositories(server) == sorted(NAMES)


@pytest.mark.parametrize("document", [{}, {"repositories": None}])
def test_nothing(server: RegistryServer, document: object) -> None:
    """No list is an empty one."""
    body = json.dumps(document).encode()
    server.fail(path="_catalog", body=body, headers={"Link": ""})
    assert repositories(server) == []


@pytest.mark.parametrize("value", ["abc", {"a": "b"}, 7, True])
def test_no_list(server: RegistryServer, value: object) -> None:
    """Another type than a list is an error, as nothing is known then."""
    body = json.dumps({"repositories": value}).encode()
    server.fail(path="_catalog", body=body, headers={"Link": ""})
    with pytest.raises(errors.Refused, match="repositories is not a list"):
        repositories(server)


def test_bad_names(server: RegistryServer) -> None:
    """A name that cannot be a repository never becomes a URL or a path."""
    names = ["ok", "../../etc", "UPPER", 7, None, "a/../b", "x" * 300]
    body = json.dumps({"repositories": names}).encode()
    server.fail(path="_catalog", body=body, headers={"Link": ""})
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


def test_denied_to_a_user() -> None:
    """Only Harbor is asked for the list of its own."""

    class Closed(Basic):
        def admits(self, authorization: str, scope: str) -> bool:
            known = super().admits(authorization, scope)
            return known and not scope.startswith("registry:")

    with RegistryServer(gate=Closed("me", "secret")) as registry:
        with pytest.raises(errors.AccessDenied, match="catalog"):
            repositories(registry, "secret")
        assert registry.requests("GET", "_catalog")
        assert not registry.requests("GET", "^/api/")


def test_private_repositories(personal: RegistryServer) -> None:
    """A user sees more than everybody, who are not asked to log in."""
    assert repositories(personal) == ["a"]
    assert repositories(personal, "secret") == NAMES


@pytest.mark.parametrize(
    ("gate", "password", "count"),
    [
        (Personal("me", "secret"), None, 1),
        (Personal("me", "secret"), "secret", 0),
        (None, None, 0),
    ],
)
def test_empty_catalog(
    gate: Personal | None, password: str | None, count: int
) -> None:
    """Where a login is wanted and there is none, a warning says so."""
    observer = Recorder()
    with RegistryServer(gate=gate, faults=[UNKNOWN_SCOPE]) as registry:
        assert repositories(registry, password, observer) == []
    warned = [text for text in observer.warnings if "lists nothing" in text]
    assert len(warned) == count
    assert all("no credentials for 127" in text for text in warned)


def test_requests_for_private_repositories(personal: RegistryServer) -> None:
    """The version check is sent once, and the catalog asked for once."""
    repositories(personal, "secret")
    assert [request.path.partition("?")[0] for request in personal.log] == [
        "/v2/",
        "/token",
        "/token",
        "/v2/_catalog",
    ]


def test_wrong_password_for_private_repositories(
    personal: RegistryServer,
) -> None:
    """A wrong password is an error, and never the list for everybody."""
    with pytest.raises(errors.AccessDenied, match="no token") as caught:
        repositories(personal, "wrong")
    assert "used the credentials of me" in str(caught.value.hint)


def test_login_for_the_catalog() -> None:
    """Where the catalog needs a login, it is asked for with one."""
    gate = Bearer("me", "secret")
    with RegistryServer(gate=gate) as registry:
        fill(registry)
        assert repositories(registry, "secret") == NAMES
        assert len(registry.requests("GET", "/v2/_catalog")) == 1
        assert gate.issued == 1
