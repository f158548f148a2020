"""Harbor, the registry with projects."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from imageprep_client import errors
from imageprep_client.oci import referrers
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing import content
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Harbor
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put, read
from tests.once import ONE_ATTEMPT

IMAGE = content.image("harbor")
PASSWORD = "Zz9Secret"
FAST = RetryPolicy(base=0.001, cap=0.001)


def logged_in(
    server: RegistryServer,
    password: str = PASSWORD,
    policy: RetryPolicy = FAST,
) -> RegistryClient:
    """A client with a user and a password."""
    known = Credentials({server.host: ("me", password)})
    return RegistryClient(Hosts(credentials=known), policy=policy)


def test_wrong_passwords_are_sent_a_few_times() -> None:
    """Anonymous tokens count as refusals, and no password follows them."""
    gate = Harbor("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server, "x") as client:

        def resolve(number: int) -> str:
            with pytest.raises(errors.AccessDenied) as caught:
                client.destination(server.host, f"p/{number}").resolve("1")
            return str(caught.value.hint)

        with ThreadPoolExecutor(20) as pool:
            hints = set(pool.map(resolve, range(20)))
        assert len(gate.logins) == 3
        (hint,) = hints
        assert "probably wrong: the token that they got names no user" in hint


def test_wrong_passwords_for_public_images() -> None:
    """An anonymous token that is enough does not show that they are right."""

    class Public(Harbor):
        def grants(self, known: bool, name: str, action: str) -> bool:
            public = name.startswith("public/") and action == "pull"
            return public or super().grants(known, name, action)

    gate = Public("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server, "x") as client:

        def resolve(number: int) -> None:
            put(server.content.store(f"public/{number}"), IMAGE, "1")
            client.store(server.host, f"public/{number}").resolve("1")
            with pytest.raises(errors.AccessDenied) as caught:
                client.store(server.host, f"p/{number}").resolve("1")
            assert "names no user" in str(caught.value.hint)

        with ThreadPoolExecutor(20) as pool:
            assert len(list(pool.map(resolve, range(20)))) == 20
        assert len(gate.logins) <= 4


def test_tokens_without_users() -> None:
    """Where no token names a user, the password is used for all that others
    may not have.
    """

    class Anonymous(Harbor):
        def claims(self, known: bool) -> dict[str, object]:
            return super().claims(False)

        def grants(self, known: bool, name: str, action: str) -> bool:
            public = name.startswith("public/") and action == "pull"
            return public or super().grants(known, name, action)

    gate = Anonymous("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        for number in range(5):
            for name in (f"public/{number}", f"p/{number}"):
                put(server.content.store(name), IMAGE, "1")
                found = client.store(server.host, name).resolve("1")
                assert found == IMAGE.descriptor


def test_users_that_other_claims_name() -> None:
    """Tokens of GitLab have no subject for a deploy token, and name it in a
    claim of their own.
    """

    class Deploying(Harbor):
        def claims(self, known: bool) -> dict[str, object]:
            claims = super().claims(False)
            return {**claims, "user": "deploy"} if known else claims

        def grants(self, known: bool, name: str, action: str) -> bool:
            return known and name == "p/open"

        def challenge(self, base: str, scope: str) -> str:
            return f'Bearer realm="{base}/token",service="r",scope="{scope}"'

    gate = Deploying("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        put(server.content.store("p/open"), IMAGE, "1")
        for number in range(4):
            with pytest.raises(errors.AccessDenied) as caught:
                client.store(server.host, f"p/{number}").resolve("1")
            assert "which got a token" in str(caught.value.hint)
        assert client.store(server.host, "p/open").resolve("1")


def test_a_missing_permission_is_no_wrong_password() -> None:
    """A token that names the user shows that the password is right."""
    gate = Harbor("me", PASSWORD, actions=frozenset({"pull"}))
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        blob = content.blob("denied", 1000)
        store = client.destination(server.host, "p/name")
        with pytest.raises(errors.NotFound):
            store.resolve("latest")
        with pytest.raises(errors.AccessDenied) as caught:
            store.push(blob.descriptor, blob.open())
        assert "which got a token" in str(caught.value.hint)
        sent = [request.headers for request in server.requests(path="/v2/p/")]
        assert not any(
            headers.get("Authorization", "").startswith("Basic")
            for headers in sent
        )


def test_deletions() -> None:
    """A token for reading does not permit them, and no scope is named."""
    actions = frozenset({"pull", "delete"})
    gate = Harbor("me", PASSWORD, actions=actions)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        content_of = server.content.store("p/name")
        put(content_of, IMAGE, "1", "2")
        store = client.store(server.host, "p/name")
        store.resolve("1")
        store.untag("1")
        store.untag("2")
        assert not list(content_of.tags())


def test_reading_after_a_deletion() -> None:
    """The scope that the first request wants is not that of the others."""
    gate = Harbor("me", PASSWORD, actions=frozenset({"pull"}))
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        put(server.content.store("p/name"), IMAGE, "1")
        server.fail("DELETE", status=405, skip=1, times=None)
        store = client.store(server.host, "p/name")
        with pytest.raises(errors.Refused):
            store.untag("1")
        assert store.resolve("1") == IMAGE.descriptor


def test_passwords_for_projects() -> None:
    """One that got a token is right, whatever else is refused to its user."""

    class Private(Harbor):
        def admits(self, authorization: str, scope: str) -> bool:
            admitted = super().admits(authorization, scope)
            return admitted and "/private" not in scope

    gate = Private("me", PASSWORD, actions=frozenset({"pull", "delete"}))
    with RegistryServer(gate=gate) as server:
        known = Credentials({f"{server.host}/p": ("me", PASSWORD)})
        put(server.content.store("p/name"), IMAGE, "1")
        with RegistryClient(Hosts(credentials=known)) as client:
            for number in range(4):
                store = client.store(server.host, f"p/private{number}")
                with pytest.raises(errors.AccessDenied):
                    store.resolve("1")
            client.store(server.host, "p/name").untag("1")
            assert not list(server.content.store("p/name").tags())


def test_deletions_with_a_wrong_password() -> None:
    """It is not sent again for what an anonymous token does not permit."""
    gate = Harbor("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server, "x") as client:
        put(server.content.store("p/name"), IMAGE, "1")
        for _ in range(5):
            with pytest.raises(errors.AccessDenied, match="authentication"):
                client.store(server.host, "p/name").untag("1")
        assert len(gate.logins) == 1


def test_expired_tokens_are_replaced() -> None:
    """A token that expired is replaced, though the password is asked for."""
    gate = Harbor("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        put(server.content.store("p/name"), IMAGE, "1")
        store = client.store(server.host, "p/name")
        store.resolve("1")
        gate.revoke()
        store.exists(IMAGE.descriptor)
        gate.revoke()
        store.resolve("1")
        assert len(server.requests("GET", "/token")) == 3
        assert len(gate.logins) == 3


def test_tokens_of_anybody_are_replaced() -> None:
    """Without a user, a token that is refused is replaced as well."""

    class Public(Harbor):
        def token(self, authorization: str, scopes: Iterable[str]) -> object:
            pair = base64.b64encode(f"me:{PASSWORD}".encode()).decode()
            return super().token(f"Basic {pair}", scopes)

    gate = Public("me", PASSWORD)
    with RegistryServer(gate=gate) as server, RegistryClient() as client:
        put(server.content.store("p/name"), IMAGE, "1")
        store = client.store(server.host, "p/name")
        store.resolve("1")
        gate.revoke()
        assert store.resolve("1") == IMAGE.descriptor


def test_anonymous_tokens_of_a_user_are_replaced() -> None:
    """A registry that wants a token each time gets a new one, though those
    for the password name no user.
    """

    class Public(Harbor):
        def grants(self, known: bool, name: str, action: str) -> bool:
            return action == "pull"

        def challenge(self, base: str, scope: str) -> str:
            text = f'Bearer realm="{base}/token",service="tests"'
            return f'{text},scope="{scope}"' if scope else text

    gate = Public("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server, "x") as client:
        put(server.content.store("p/name"), IMAGE, "1")
        store = client.destination(server.host, "p/name")
        assert store.resolve("1") == IMAGE.descriptor
        gate.revoke()
        assert store.resolve("1") == IMAGE.descriptor


def test_catalog_of_an_administrator() -> None:
    """The catalog is read with the password where a token does not do."""
    with RegistryServer(gate=Harbor("me", PASSWORD)) as server:
        put(server.content.store("p/name"), IMAGE, "1")
        with logged_in(server) as client:
            assert client.catalog(server.host).repositories() == ["p/name"]


def test_catalog_with_a_wrong_password() -> None:
    """A password that got an anonymous token is not sent to the registry."""
    gate = Harbor("me", PASSWORD)
    with RegistryServer(gate=gate) as server, logged_in(server, "x") as client:
        with pytest.raises(errors.AccessDenied, match="authentication"):
            client.catalog(server.host).repositories()
        assert len(gate.logins) == 1


NEXT = '</api/v2.0/repositories?page=2&page_size=100>; rel="next"'


def listed(query: str, *names: str, **headers: str) -> Fault:
    """A page of Harbor's list of the repositories that a user may see."""
    body = json.dumps([{"id": 1, "name": name} for name in names])
    return Fault(
        path=rf"^/api/v2\.0/repositories\?{query}",
        status=200,
        headers=headers,
        body=body.encode(),
        times=None,
    )


def test_repositories_of_a_user() -> None:
    """The list of the projects is read by whom the catalog is closed to."""
    gate = Harbor("me", PASSWORD, is_administrator=False)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        server.faults.add(listed("page=2", "p/b"))
        server.faults.add(listed("page_size", "p/c", "p/a", Link=NEXT))
        catalog = client.catalog(server.host)
        assert catalog.repositories() == ["p/a", "p/b", "p/c"]
        pages = server.requests("GET", "^/api/")
        assert {page.headers["Authorization"] for page in pages} == set(
            gate.logins
        )


def test_no_repositories_of_a_user() -> None:
    """Without the list of the projects, the refusal of the catalog counts."""
    gate = Harbor("me", PASSWORD, is_administrator=False)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        with pytest.raises(errors.AccessDenied, match="catalog") as caught:
            client.catalog(server.host).repositories()
        assert "which got a token" in str(caught.value.hint)
        assert len(server.requests("GET", "^/api/")) == 1


@pytest.mark.parametrize("names", [["p/a", "p/b"], ["p/a"], ["p/b", "p/a"]])
def test_repositories_that_cannot_be_followed(names: Sequence[str]) -> None:
    """A list that goes on elsewhere is a failure, and never taken as whole."""
    link = NEXT.replace("</", "<https://elsewhere.example.com/")
    gate = Harbor("me", PASSWORD, is_administrator=False)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        server.faults.add(listed("page_size", *names, Link=link))
        with pytest.raises(errors.Refused, match="on another host"):
            client.catalog(server.host).repositories()
        assert len(server.requests("GET", "^/api/")) == 1


def test_failures_of_the_list_of_a_user() -> None:
    """A list that fails is told as such, and not as a refused catalog."""
    gate = Harbor("me", PASSWORD, is_administrator=False)
    with (
        RegistryServer(gate=gate) as server,
        logged_in(server, policy=ONE_ATTEMPT) as client,
    ):
        server.fail(path="^/api/", status=503, times=None)
        with pytest.raises(errors.ServerFault, match="projects") as caught:
            client.catalog(server.host).repositories()
        assert caught.value.status == 503


@pytest.mark.parametrize("body", [b"{}", b'["p/a"]', b"[{}]"])
def test_lists_of_a_user_that_are_none(body: bytes) -> None:
    """A page that is no list of repositories is an error."""
    gate = Harbor("me", PASSWORD, is_administrator=False)
    with RegistryServer(gate=gate) as server, logged_in(server) as client:
        fault = dataclasses.replace(listed("page_size"), body=body)
        server.faults.add(fault)
        with pytest.raises(errors.InvalidContent, match="no JSON"):
            client.catalog(server.host).repositories()


def refused(status: int, message: str, method: str = "") -> Fault:
    """A refusal as Harbor words it."""
    body = json.dumps({"errors": [{"code": "DENIED", "message": message}]})
    return Fault(method, "/p/", status=status, body=body.encode(), times=None)


def failure(fault: Fault) -> errors.StoreError:
    """The failure of the push of an image."""
    with RegistryServer() as server, RegistryClient() as client:
        server.faults.add(fault)
        with pytest.raises(errors.StoreError) as caught:
            put(client.destination(server.host, "p/name"), IMAGE, "1")
    return caught.value


@pytest.mark.parametrize(
    "message",
    [
        "The system is in read only mode. Any modification is prohibited.",
        "can not push artifact to a proxy project: proxy",
    ],
)
def test_what_no_login_changes(message: str) -> None:
    """The hint does not blame credentials for a registry without writes."""
    error = failure(refused(403, message, "POST"))
    assert isinstance(error, errors.AccessDenied)
    assert message in str(error)
    assert "no login changes that" in str(error.hint)


def test_refused_reads() -> None:
    """A registry without writes refuses no reads, so a login may help."""
    with RegistryServer() as server, RegistryClient() as client:
        server.behaviour.head = False
        server.faults.add(refused(403, "it is in read only mode", "GET"))
        with pytest.raises(errors.AccessDenied, match="read only") as caught:
            client.store(server.host, "p/name").resolve("1")
    assert "log in with podman login" in str(caught.value.hint)


def test_read_only_logins() -> None:
    """Another login may do what this one may not."""
    error = failure(refused(403, "your access token is read-only", "POST"))
    assert "log in with podman login" in str(error.hint)


def test_immutable_tags() -> None:
    """The hint says how to get around a rule."""
    message = "Failed to process request due to 'p:1' configured as immutable."
    error = failure(refused(412, message, "PUT"))
    assert message in str(error)
    assert "use another tag" in str(error.hint)


def test_quotas_without_room() -> None:
    """A blob that a quota has no room for is not sent after all."""
    message = "adding 3 MiB will exceed the configured upper limit of 5 MiB."
    blob = content.blob("large", 300_000)
    with RegistryServer() as server, RegistryClient() as client:
        server.faults.add(refused(403, message, "POST"))
        store = client.destination(server.host, "p/name")
        with pytest.raises(errors.NoSpace, match="adding 3 MiB"):
            store.begin(blob.descriptor)
        assert len(server.requests(path="/blobs/")) == 1


def test_images_that_may_not_be_pulled() -> None:
    """The hint says what forbids to read an image."""
    message = "The image is not signed by cosign."
    with RegistryServer() as server, RegistryClient() as client:
        server.faults.add(refused(412, message))
        with pytest.raises(errors.Refused, match=message) as caught:
            client.store(server.host, "p/name").resolve("1")
        assert "until it is signed or scanned" in str(caught.value.hint)


def test_reasons_are_told_once() -> None:
    """A reason that the registry gives twice is shortened, and not cut."""
    reason = f"unauthorized to access repository: p/{'n' * 120}, action: push"
    error = failure(refused(403, f"{reason}: {reason}", "POST"))
    assert str(error).count("unauthorized") == 1
    assert f"{reason} (POST" in str(error)


def test_signatures_in_a_list_and_under_a_tag() -> None:
    """A wrong size in the list of referrers spoils no signature.

    Harbor lists what cosign pushed under a tag as a referrer as well. The size
    in its list is that of the manifest with its layers.
    """
    with RegistryServer() as server, RegistryClient() as client:
        content_of = server.content.store("p/name")
        put(content_of, IMAGE, "1")
        signature = content.image("signature")
        tag = f"{referrers.tag_of(IMAGE.descriptor.digest)}.sig"
        put(content_of, signature, tag)
        entry = {**signature.descriptor.to_json(), "size": 7777}
        listed = json.dumps({"manifests": [entry]}).encode()
        server.fail(path="/referrers/", body=listed, times=None)
        store = client.store(server.host, "p/name")
        (found,) = store.referrers(IMAGE.descriptor)
        tagged = store.resolve(tag)
        assert found.size != tagged.size
        for descriptor in (found, tagged):
            assert read(store, descriptor) == signature.manifest.data
