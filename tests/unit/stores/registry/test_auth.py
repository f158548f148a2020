"""Registries are told who we are, and nobody else is."""

from __future__ import annotations

import base64
import contextlib
import json
import math
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.http.transport import Timeouts
from imageprep_client.observer import Observer
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores.registry.auth import authenticator as auth
from imageprep_client.stores.registry.auth.challenges import (
    Challenge,
    parse_challenges,
)
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.auth.tokens import (
    TokenRequest,
    TokenServer,
)
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.faults import Fault
from imageprep_client.testing.gate import Basic, Bearer, Open
from imageprep_client.testing.registry import LoggedRequest, RegistryServer
from imageprep_client.testing.streams import put
from tests.once import ONE_ATTEMPT

MakeClient = Callable[..., RegistryClient]
PASSWORD = "Zz9Secret"
IMAGE = content.image("auth")


def with_password(
    make_client: MakeClient,
    server: RegistryServer,
    password: str = PASSWORD,
    *,
    key: str = "",
    **options: Any,
) -> RegistryClient:
    """A client with a password.

    :param key: the path of the namespace that it is for.
    """
    known = Credentials({server.host + key: ("me", password)})
    return make_client(Hosts(credentials=known), **options)


def opened(
    make_client: MakeClient, server: RegistryServer, name: str = "ns/name"
) -> RegistryStore:
    """A repository, read with the password."""
    return with_password(make_client, server).store(server.host, name)


@pytest.fixture(params=["basic", "bearer"])
def gate(request: pytest.FixtureRequest) -> Basic | Bearer:
    kind = Basic if request.param == "basic" else Bearer
    return kind("me", PASSWORD)


@contextlib.contextmanager
def filled(gate: Open) -> Iterator[RegistryServer]:
    """A registry with an image."""
    with RegistryServer(gate=gate) as server:
        put(server.content.store("ns/name"), IMAGE, "latest")
        yield server


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", []),
        ("Basic", [Challenge("basic", {})]),
        ('Basic realm="a, b"', [Challenge("basic", {"realm": "a, b"})]),
        (
            'Bearer realm="https://a/t",service="x \\"y\\"",scope="a:b:c,d"',
            [
                Challenge(
                    "bearer",
                    {
                        "realm": "https://a/t",
                        "service": 'x "y"',
                        "scope": "a:b:c,d",
                    },
                )
            ],
        ),
        (
            'Negotiate, Basic realm=plain , bearer REALM = "r"',
            [
                Challenge("negotiate", {}),
                Challenge("basic", {"realm": "plain"}),
                Challenge("bearer", {"realm": "r"}),
            ],
        ),
        (
            'Negotiate YII=, Bearer realm="r",scope=, Basic realm="b"',
            [
                Challenge("negotiate", {"yii": ""}),
                Challenge("bearer", {"realm": "r", "scope": ""}),
                Challenge("basic", {"realm": "b"}),
            ],
        ),
        ('realm="none"', []),
        ('Basic realm="open', [Challenge("basic", {})]),
    ],
)
def test_challenges(header: str, expected: list[Challenge]) -> None:
    """Several challenges and quoted commas are told apart."""
    assert parse_challenges(header) == expected


def test_whole_copy(make_client: MakeClient, gate: Basic | Bearer) -> None:
    """Everything works with a password, in either scheme."""
    with RegistryServer(gate=gate) as server:
        store = opened(make_client, server)
        put(store, IMAGE, "latest")
        assert store.resolve("latest") == IMAGE.descriptor
        assert list(store.tags()) == ["latest"]
        for piece in IMAGE.pieces:
            assert store_suite.read(store, piece.descriptor) == piece.data
        store.delete(IMAGE.descriptor)


def test_mount_needs_both_repositories(make_client: MakeClient) -> None:
    """A token for a mount allows to read where the blob is."""
    with filled(Bearer("me", PASSWORD)) as server:
        store = opened(make_client, server, "ns/other")
        assert store.mount(IMAGE.parts[0].descriptor, "ns/name")
        (token,) = server.requests("GET", "/token")
        assert "repository%3Ans%2Fname%3Apull" in token.path


def test_asks_once(make_client: MakeClient, gate: Basic | Bearer) -> None:
    """After the first challenge, each request brings what is wanted."""
    with filled(gate) as server:
        store = opened(make_client, server)
        for _ in range(5):
            store.resolve("latest")
        assert len(server.requests("HEAD", "/manifests/")) == 6
        assert len(server.requests("GET", "/token")) <= 1


def test_tokens_of_other_repositories(make_client: MakeClient) -> None:
    """A second repository gets its token without another refusal."""
    with filled(Bearer(anonymous=True)) as server:
        client = make_client()
        client.store(server.host, "ns/name").resolve("latest")
        count = len(server.log)
        with pytest.raises(errors.NotFound):
            client.store(server.host, "ns/second").resolve("latest")
        assert [r.path.partition("?")[0] for r in server.log[count:]] == [
            "/token",
            *["/v2/ns/second/manifests/latest"],
        ]


def test_anonymous(make_client: MakeClient) -> None:
    """Public registries give tokens to everybody."""
    with filled(Bearer(anonymous=True)) as server:
        make_client().store(server.host, "ns/name").resolve("latest")
        (token,) = server.requests("GET", "/token")
        assert "Authorization" not in token.headers


@pytest.mark.parametrize(
    ("key", "says", "fetched"),
    [("token", 300.0, 1), ("access_token", None, 1), ("token", 0.0, 1)],
)
def test_token_answers(
    make_client: MakeClient, key: str, says: float | None, fetched: int
) -> None:
    """Both names of the token are known; a lifetime may be left out."""
    gate = Bearer("me", PASSWORD, key=key, says_lifetime=says)
    with filled(gate) as server:
        store = opened(make_client, server)
        store.resolve("latest")
        store.resolve("latest")
        assert gate.issued == fetched


def web_token(name: str, claims: object) -> str:
    """A JSON Web Token with these claims."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode()
    return f"{name}.{payload.rstrip('=')}.signature"


@pytest.mark.parametrize(
    ("claims", "expires_in", "lifetime"),
    [
        (None, 100, 100.0),
        ({"iat": 7000, "exp": 7300}, 100, 100.0),
        ({"iat": 7000, "exp": 7300}, None, 300.0),
        ({"iat": 7000, "exp": 7001}, None, 60.0),
        ({"iat": 7000, "exp": "later"}, None, 60.0),
        ({"exp": 7300}, None, 60.0),
        ({"iat": 7000, "exp": math.inf}, None, 60.0),
        (["iat", "exp"], None, 60.0),
        (None, None, 60.0),
        (None, "300", 300.0),
        (None, "2026-12-01T09:00:00Z", 60.0),
        ({"iat": 7000, "exp": 7300}, "soon", 300.0),
        (None, int("9" * 400), 60.0),
        (None, math.inf, 60.0),
        (None, math.nan, 60.0),
        (None, [1], 60.0),
    ],
)
def test_old_tokens_are_replaced_in_time(
    claims: object, expires_in: object, lifetime: float
) -> None:
    """At four fifths of its life a token is replaced, not when refused.

    A server may state the life in the claims of the token alone, as Quay, or
    state it wrongly; a line end after the token is none of it.
    """
    now = [0.0]
    one, two = (
        web_token(name, claims) if claims else name for name in ("one", "two")
    )
    answers = iter((one, two))

    class Answer:
        status = 200

        def body(self, limit: int) -> bytes:
            token = f"{next(answers)}\n"
            answer = {"token": token, "expires_in": expires_in}
            return json.dumps(answer).encode()

    keeper = auth.Authenticator(
        "https://quay.io",
        "quay.io",
        Credentials(),
        lambda url, headers: Answer(),  # type: ignore[arg-type]
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
        clock=lambda: now[0],
    )
    header = 'Bearer realm="https://quay.io/token"'
    assert keeper.header("ns/x", ["a"]) is None
    assert keeper.answer(header, "ns/x", ["a"], None) == f"Bearer {one}"
    now[0] = 0.79 * lifetime
    assert keeper.header("ns/x", ["a"]) == f"Bearer {one}"
    now[0] = 0.81 * lifetime
    assert keeper.header("ns/x", ["a"]) == f"Bearer {two}"


PULL = {"type": "repository", "name": "ns/a", "actions": ["pull"]}


@pytest.mark.parametrize(
    ("claims", "scope", "is_anonymous", "lacks"),
    [
        ({"access": [PULL]}, "ns/a:pull", True, False),
        ({"access": [PULL]}, "ns/a:pull,push", True, True),
        ({"access": [PULL]}, "ns/b:pull", True, True),
        ({"access": [PULL | {"name": "a:5/b"}]}, "a:5/b:pull", True, False),
        ({"access": [], "sub": "me"}, "ns/a:pull", False, True),
        ({"iss": "tests"}, "ns/a:pull", False, False),
    ],
)
def test_claims_of_tokens(
    claims: object, scope: str, is_anonymous: bool, lacks: bool
) -> None:
    """A token says what it grants, and names nobody where it says that alone;
    one that does not say what it grants says nothing.
    """

    class Answer:
        status = 200

        def body(self, limit: int) -> bytes:
            return json.dumps({"token": web_token("x", claims)}).encode()

    server = TokenServer(
        "quay.io",
        lambda url, headers, body=None: Answer(),  # type: ignore[arg-type]
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
        time.monotonic,
    )
    wanted = TokenRequest("https://x", "", (f"repository:{scope}",), None)
    token = server.fetch(wanted)
    assert (token.is_anonymous, token.lacks) == (is_anonymous, lacks)


def test_refused_tokens_are_replaced(make_client: MakeClient) -> None:
    """A token that is refused before its time is replaced once."""
    gate = Bearer("me", PASSWORD)
    with filled(gate) as server:
        store = opened(make_client, server)
        store.resolve("latest")
        gate.revoke()
        store.resolve("latest")
        assert gate.issued == 2


#: The answer of ECR Public to a token that has expired.
_EXPIRED = json.dumps(
    {
        "errors": [
            {
                "code": "DENIED",
                "message": "Your Authorization Token is invalid.",
            }
        ]
    }
).encode()


def expire(server: RegistryServer, method: str, times: int | None) -> None:
    """Answer so many requests as ECR Public does; HEAD has no body."""
    body = b"" if method == "HEAD" else _EXPIRED
    server.fail(method, "/v2/.", status=400, body=body, times=times)


def test_expired_tokens_of_ecr_public_at_a_push(
    make_client: MakeClient,
) -> None:
    """So it is for a push, whose first answer denies it."""
    gate = Bearer("me", PASSWORD)
    with RegistryServer(gate=gate) as server:
        client = with_password(make_client, server)
        store = client.destination(server.host, "ns/name")
        first, *others = IMAGE.parts
        store_suite.push(store, first)
        expire(server, "POST", 1)
        store_suite.push(store, *others)
        expire(server, "PUT", 1)
        store_suite.push(store, IMAGE.manifest)
        assert gate.issued == 3


def test_expired_tokens_of_ecr_public(make_client: MakeClient) -> None:
    """A 400 that denies access, without a challenge, has a new token.

    One that was accepted is replaced in turn, however new it is.
    """
    gate = Bearer("me", PASSWORD)
    with filled(gate) as server:
        store = opened(make_client, server)
        store.resolve("latest")
        for issued in (2, 3):
            expire(server, "HEAD", 1)
            expire(server, "GET", 1)
            assert store.resolve("latest") == IMAGE.descriptor
            assert gate.issued == issued


def test_lasting_refusals_of_ecr_public(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a new token is refused as well, access is denied at once."""
    monkeypatch.setattr(auth, "_NEW", 60.0)
    gate = Bearer("me", PASSWORD)
    with filled(gate) as server:
        store = opened(make_client, server)
        store.resolve("latest")
        expire(server, "HEAD", None)
        expire(server, "GET", None)
        asked = len(server.requests("GET", "/manifests/"))
        with pytest.raises(errors.AccessDenied, match="is invalid") as caught:
            store.resolve("latest")
        assert len(server.requests("GET", "/manifests/")) == asked + 2
        assert gate.issued == 2
        with pytest.raises(errors.AccessDenied):
            store.resolve("latest")
        assert gate.issued == 2
        assert "used the credentials of me" in str(caught.value.hint)
        assert "may lack the permission" in str(caught.value.hint)


def test_token_expires_within_a_stream(make_client: MakeClient) -> None:
    """A long read goes on with a new token where it broke."""
    gate = Bearer("me", PASSWORD)
    with RegistryServer(gate=gate) as server:
        blob = content.blob("long", 3_000_000)
        server.content.store("ns/name").push(blob.descriptor, blob.open())
        store = opened(make_client, server)
        server.fail("GET", "/blobs/", skip=1, truncate=1_500_000)
        with store.fetch(blob.descriptor) as stream:
            start = stream.read(1000)
            gate.revoke()
            assert start + stream.read() == blob.data


def test_token_expires_before_a_stream_is_sent(
    make_client: MakeClient,
) -> None:
    """A stream that met an old token may be pushed again by its owner."""
    gate = Bearer("me", PASSWORD)
    with RegistryServer(gate=gate) as server:
        blob = content.blob("long", 3_000_000)
        store = opened(make_client, server)
        store.exists(blob.descriptor)
        server.fail(
            "PUT",
            status=401,
            headers={
                "WWW-Authenticate": gate.challenge(
                    server.url, "repository:ns/name:push"
                )
            },
        )
        with pytest.raises(errors.ServerFault) as caught:
            store.push(blob.descriptor, blob.open())
        assert caught.value.temporary
        store.push(blob.descriptor, blob.open())
        assert store.exists(blob.descriptor)


def test_denied_users_get_one_token(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A new token that is refused is not replaced: it lacks a permission."""
    monkeypatch.setattr(auth, "_NEW", 60.0)

    class Denying(Bearer):
        def admits(self, authorization: str, scope: str) -> bool:
            return False

    gate = Denying("me", PASSWORD)
    with RegistryServer(gate=gate) as server:
        store = with_password(make_client, server).destination(
            server.host, "ns/name"
        )
        blob = content.blob("denied", 1000)
        for _ in range(2):
            with pytest.raises(errors.AccessDenied) as caught:
                store.push(blob.descriptor, blob.open())
        assert gate.issued == 1
        assert len(server.requests("POST")) == 3
        assert "which got a token" in str(caught.value.hint)


def test_basic_credentials_may_lack_a_permission(
    make_client: MakeClient,
) -> None:
    """Without tokens, a wrong password and a missing permission look alike."""
    with RegistryServer(gate=Basic("me", PASSWORD)) as server:
        server.fail("POST", status=403, times=None)
        store = with_password(make_client, server).destination(
            server.host, "ns/name"
        )
        blob = content.blob("denied", 1000)
        with pytest.raises(errors.AccessDenied) as caught:
            store.push(blob.descriptor, blob.open())
        assert "may be wrong or lack the permission" in str(caught.value.hint)


def test_wrong_passwords_are_sent_a_few_times(make_client: MakeClient) -> None:
    """Many images do not lock a user out whose password is wrong."""
    with RegistryServer(gate=Bearer("me", PASSWORD)) as server:
        client = with_password(make_client, server, "another")

        def resolve(number: int) -> str:
            with pytest.raises(
                errors.AccessDenied, match="no token"
            ) as caught:
                client.store(server.host, f"ns/{number}").resolve("latest")
            return str(caught.value.hint)

        with ThreadPoolExecutor(20) as pool:
            hints = set(pool.map(resolve, range(20)))
        assert len(server.requests("GET", "/token")) == 3
        (hint,) = hints
        assert "used the credentials of me" in hint
        assert "which may be wrong" in hint


def with_login(server: RegistryServer) -> list[LoggedRequest]:
    return [r for r in server.log if "Authorization" in r.headers]


def test_wrong_passwords_are_sent_once_without_tokens(
    make_client: MakeClient,
) -> None:
    """Directories behind registries lock users out after a few."""
    with RegistryServer(gate=Basic("me", PASSWORD)) as server:
        client = with_password(make_client, server, "another")

        def resolve(number: int) -> str:
            store = client.destination(server.host, f"ns/{number}")
            with pytest.raises(errors.AccessDenied) as caught:
                store.resolve("latest")
            assert "used the credentials of me" in str(caught.value.hint)
            return str(caught.value)

        with ThreadPoolExecutor(20) as pool:
            told = set(pool.map(resolve, range(20)))
        assert len(with_login(server)) == 1
        check = f"GET http://{server.host}/v2/ 401"
    assert told == {f"{server.host}: login: authentication required ({check})"}


def test_passwords_for_some_repositories_only(make_client: MakeClient) -> None:
    """They are not held against what all of a registry wants."""
    with filled(Basic("me", PASSWORD)) as server:
        server.fail(path="^/v2/$", status=401, times=None)
        client = with_password(make_client, server, key="/ns")
        found = client.store(server.host, "ns/name").resolve("latest")
        assert found == IMAGE.descriptor


@pytest.mark.parametrize(
    ("status", "checks"), [(403, 1), (404, 1), (429, 3), (503, 3)]
)
def test_version_checks_that_do_not_tell(
    make_client: MakeClient, status: int, checks: int
) -> None:
    """A password is wrong only where the version check says so. It is sent
    again a few times while it fails for now.
    """
    with filled(Basic("me", PASSWORD)) as server:
        server.fail(path="^/v2/$", status=status, times=None)
        found = opened(make_client, server)
        for _ in range(5):
            assert found.resolve("latest") == IMAGE.descriptor
        sent = [r.path for r in with_login(server)]
        assert sent.count("/v2/") == checks


def test_version_checks_for_tokens_only(make_client: MakeClient) -> None:
    """A refusal that offers tokens alone says nothing about the password."""
    with filled(Basic("me", PASSWORD)) as server:
        headers = {"WWW-Authenticate": 'Bearer realm="http://x.test/"'}
        fault = Fault(path="^/v2/$", status=401, headers=headers, times=None)
        server.faults.add(fault)
        found = opened(make_client, server).resolve("latest")
        assert found == IMAGE.descriptor


@pytest.mark.parametrize("status", [0, 200, 403, 500])
@pytest.mark.parametrize("key", ["", "/ns"])
def test_wrong_passwords_that_no_check_tells(
    make_client: MakeClient, status: int, key: str
) -> None:
    """They are sent with a few requests where the version check tells
    nothing, and where they are those of a namespace.
    """
    with RegistryServer(gate=Basic("me", PASSWORD)) as server:
        if status:
            server.fail(path="^/v2/$", status=status, times=None)
        client = with_password(make_client, server, "another", key=key)
        for number in range(20):
            with pytest.raises(errors.AccessDenied) as caught:
                client.store(server.host, f"ns/{number}").resolve("latest")
            assert "used the credentials of me" in str(caught.value.hint)
        sent = [r.path for r in with_login(server)]
        assert sent.count("/v2/") <= 3
        assert len(sent) - sent.count("/v2/") <= 3


@pytest.mark.parametrize(("status", "checks"), [(401, 1), (503, 2)])
def test_version_checks_that_tell_later(
    make_client: MakeClient, status: int, checks: int
) -> None:
    """A check that fails for now is sent again; one that refuses a password,
    with or without a challenge, is not, and nothing else is sent with it.
    """
    with RegistryServer(gate=Basic("me", PASSWORD)) as server:
        server.fail(path="^/v2/$", status=status)
        client = with_password(make_client, server, "another")
        for name in ("ns/1", "ns/2", "ns/3"):
            with pytest.raises(errors.AccessDenied):
                client.store(server.host, name).resolve("latest")
        sent = [r.path for r in with_login(server)]
        assert sent.count("/v2/") == checks
        assert len(sent) == 2 * checks - 1


@pytest.mark.parametrize("key", ["", "/ns"])
def test_wrong_passwords_beside_right_ones(
    make_client: MakeClient, key: str
) -> None:
    """A wrong password of a namespace neither stops another one, nor is it
    sent on because another one is right.
    """
    with filled(Basic("me", PASSWORD)) as server:
        known = {
            server.host + key: ("me", PASSWORD),
            f"{server.host}/bad": ("me", "another"),
        }
        client = make_client(Hosts(credentials=Credentials(known)))

        def refused() -> None:
            for number in range(5):
                with pytest.raises(errors.AccessDenied):
                    client.store(server.host, f"bad/{number}").resolve("1")

        refused()
        found = client.store(server.host, "ns/name").resolve("latest")
        assert found == IMAGE.descriptor
        refused()
        sent = [r for r in with_login(server) if "/bad/" in r.path]
        assert len(sent) == 3


@pytest.mark.parametrize(("key", "before"), [("", 0), ("/ns", 1)])
def test_passwords_that_lack_permissions(
    make_client: MakeClient, key: str, before: int
) -> None:
    """A password that the version check wants and accepts is sent on, though
    many requests are refused; so is one that a request was accepted with.
    """

    class Private(Basic):
        def admits(self, authorization: str, scope: str) -> bool:
            return ":ns/p" not in scope and super().admits(
                authorization, scope
            )

    with filled(Private("me", PASSWORD)) as server:
        client = with_password(make_client, server, key=key)
        public = client.store(server.host, "ns/name")
        for _ in range(before):
            public.resolve("latest")
        for number in range(5):
            with pytest.raises(errors.AccessDenied):
                client.store(server.host, f"ns/p{number}").resolve("latest")
        assert public.resolve("latest") == IMAGE.descriptor


def test_refusals_of_single_repositories(make_client: MakeClient) -> None:
    """A token server that refuses tokens for some repositories is asked for
    those of others.
    """

    class Choosing(Bearer):
        def token(self, authorization: str, scopes: Iterable[str]) -> object:
            if any(":ns/private" in scope for scope in scopes):
                return None
            return super().token(authorization, scopes)

    with filled(Choosing("me", PASSWORD)) as server:
        client = with_password(make_client, server)
        for numbers in (range(2), range(2, 8)):
            for number in numbers:
                private = client.store(server.host, f"ns/private{number}")
                with pytest.raises(errors.AccessDenied):
                    private.resolve("latest")
            client.store(server.host, "ns/name").resolve("latest")


@pytest.mark.parametrize("status", [403, 404])
def test_other_refusals_of_tokens(
    make_client: MakeClient, status: int
) -> None:
    """They say nothing about the password, which is sent for all images."""
    with filled(Bearer("me", PASSWORD)) as server:
        server.fail("GET", "/token.*private", status=status, times=None)
        client = with_password(make_client, server)
        for number in range(5):
            private = client.store(server.host, f"ns/private{number}")
            with pytest.raises(errors.StoreError, match="no token"):
                private.resolve("latest")
            assert server.requests("GET", f"/token.*private{number}")
        found = client.store(server.host, "ns/name").resolve("latest")
        assert found == IMAGE.descriptor


def test_tokens_that_are_fetched_at_once(make_client: MakeClient) -> None:
    """A server that hashes passwords slowly is not asked for all tokens at
    once, however many requests the registry gets.
    """
    together = threading.Event()

    class Hashing(Bearer):
        most = busy = 0

        def token(self, authorization: str, scopes: Iterable[str]) -> object:
            with self._lock:
                self.busy += 1
                self.most = max(self.most, self.busy)
                if self.most == 16:
                    together.set()
            if self.issued:
                # Only the first one is fetched alone.
                together.wait(30)
            time.sleep(0.02)
            with self._lock:
                self.busy -= 1
            return super().token(authorization, scopes)

    gate = Hashing("me", PASSWORD)
    names = [f"ns/name{number}" for number in range(48)]
    with RegistryServer(gate=gate) as server:
        client = with_password(
            make_client, server, concurrency=48, timeouts=Timeouts(2, 60)
        )

        def resolve(name: str) -> None:
            with pytest.raises(errors.NotFound):
                client.store(server.host, name).resolve("latest")

        with ThreadPoolExecutor(48) as pool:
            list(pool.map(resolve, names))
    assert gate.most == 16
    assert gate.issued == 48


def test_one_token_for_many_threads(make_client: MakeClient) -> None:
    """Threads that need the same token wait for one request."""
    gate = Bearer("me", PASSWORD)
    with filled(gate) as server:
        store = opened(make_client, server)
        everybody = threading.Barrier(6)

        def resolve(_: int) -> None:
            everybody.wait(60)
            store.resolve("latest")

        with ThreadPoolExecutor(6) as pool:
            list(pool.map(resolve, range(6)))
        assert gate.issued == 1


def test_refusal_of_a_request_without_password(
    make_client: MakeClient, gate: Basic | Bearer
) -> None:
    """A 401 to a request without a password does not answer the same request
    with one.
    """
    with filled(gate) as server:
        client = with_password(make_client, server)
        manifests = "/v2/ns/name/manifests"
        scopes = ("repository:ns/name:pull",)
        first = Request("GET", f"{manifests}/latest", "x", "ns/name", scopes)
        registry = client._registry(server.host, insecure=False, first=first)
        other = f"{manifests}/{IMAGE.descriptor.digest}"
        registry.call(first._replace(url=other), {200}).discard()
        registry.call(first, {200}).discard()


def version_checks(server: RegistryServer) -> list[LoggedRequest]:
    """Those without a login."""
    checks = server.requests("GET", "^/v2/$")
    return [r for r in checks if "Authorization" not in r.headers]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_challenge_of_the_version_check(
    make_client: MakeClient, gate: Basic | Bearer, status: int
) -> None:
    """A registry may refuse or hide an image without saying how to log in."""
    with filled(gate) as server:
        server.fail(path="/manifests/", status=status)
        store = opened(make_client, server)
        assert store.resolve("latest") == IMAGE.descriptor
        assert len(version_checks(server)) == 1


@pytest.mark.parametrize("status", [429, 502, 503])
def test_version_check_that_fails_for_now(
    make_client: MakeClient, gate: Basic | Bearer, status: int
) -> None:
    """It is repeated, and the image that is hidden is not taken for absent."""
    with filled(gate) as server:
        server.fail(path="/manifests/", status=404, times=2)
        server.fail(path="^/v2/$", status=status)
        store = opened(make_client, server)
        assert store.resolve("latest") == IMAGE.descriptor
        assert len(version_checks(server)) == 2


@pytest.mark.parametrize("known", [True, False])
def test_absent_images_of_open_registries(
    make_client: MakeClient, known: bool
) -> None:
    """The version check is asked for a challenge at most once."""
    with RegistryServer() as server:
        client = with_password(make_client, server) if known else make_client()
        for name in ("a", "b"):
            with pytest.raises(errors.NotFound):
                client.store(server.host, name).resolve("latest")
        assert len(server.requests("GET", "^/v2/$")) == known


@pytest.mark.parametrize(
    ("challenge", "told"),
    [
        ("NTLM", "takes a login only by ntlm"),
        ('Digest realm="r", nonce="x", Negotiate', "by digest or negotiate"),
        ("", "asks for no login"),
    ],
)
def test_logins_of_other_kinds(
    make_client: MakeClient, challenge: str, told: str
) -> None:
    """The hint does not say that a password was used that was not sent."""

    class Other(Basic):
        def challenge(self, base: str, scope: str) -> str:
            return challenge

    with RegistryServer(gate=Other("me", PASSWORD)) as server:
        with pytest.raises(errors.AccessDenied) as caught:
            opened(make_client, server).resolve("latest")
        hint = str(caught.value.hint)
        assert hint.startswith("did not send the credentials of me for")
        assert told in hint
        assert not [r for r in server.log if "Authorization" in r.headers]


def test_wrong_password(make_client: MakeClient, gate: Basic | Bearer) -> None:
    """The hint says whose credentials were refused, not what they are."""
    with RegistryServer(gate=gate) as server:
        client = with_password(make_client, server, "wrong-Zz9")
        with pytest.raises(errors.AccessDenied) as caught:
            client.store(server.host, "ns/name").resolve("latest")
        hint = caught.value.hint
        assert hint
        assert "me" in hint
        assert "ContainerImageRegistryCredentials" in hint
        encoded = base64.b64encode(b"me:wrong-Zz9").decode()
        for secret in ("wrong-Zz9", encoded):
            assert secret not in f"{caught.value} {hint} {caught.value!r}"


def test_no_credentials(make_client: MakeClient, gate: Basic | Bearer) -> None:
    """The hint says that none were found and where to give them."""
    with RegistryServer(gate=gate) as server:
        with pytest.raises(errors.AccessDenied) as caught:
            make_client().store(server.host, "ns/name").resolve("latest")
        assert caught.value.hint
        assert f"no credentials for {server.host}" in caught.value.hint
        assert f"podman login {server.host}" in caught.value.hint


def test_credentials_for_another_port(
    make_client: MakeClient, gate: Basic | Bearer
) -> None:
    """The hint names the registry that has credentials, and no secret."""
    credentials = Credentials({"127.0.0.1": ("me", "canary")})
    with RegistryServer(gate=gate) as server:
        with pytest.raises(errors.AccessDenied) as caught:
            make_client(Hosts(credentials=credentials)).store(
                server.host, "ns/name"
            ).resolve("latest")
        hint = str(caught.value.hint)
        told = f"no credentials for {server.host} were found, only for"
        assert hint.startswith(f"{told} 127.0.0.1; log in")
        assert "canary" not in hint


def test_forbidden(server: RegistryServer, client: RegistryClient) -> None:
    """A 403 is a refusal, too."""
    body = b'{"errors": [{"code": "DENIED", "message": "denied here"}]}'
    server.fail("HEAD", status=403, times=None)
    server.fail("GET", status=403, body=body, times=None)
    with pytest.raises(errors.AccessDenied, match="denied here"):
        client.store(server.host, "ns/name").resolve("latest")


@pytest.mark.parametrize(
    "body",
    [
        b"no json",
        b"[]",
        b'{"token": ""}',
        b'{"token": "a b"}',
        b'{"token": "a\\r\\nX: y"}',
        b'{"token": 7}',
        b'{"token": "x", "expires_in": ' + b"9" * 5000 + b"}",
        b'{"token": "' + b"x" * 100_000 + b'"}',
        b'{"token": "' + b"x" * (1024 * 1024) + b'"}',
    ],
)
def test_unusable_tokens(make_client: MakeClient, body: bytes) -> None:
    """An answer without a usable token is neither used nor quoted.

    It is requested a few times only, and once if it is too long.
    """
    with RegistryServer(gate=Bearer(anonymous=True)) as server:
        server.fail(path="/token", body=body, times=None)
        client = make_client(policy=RetryPolicy(attempts=12, base=0))
        with pytest.raises(errors.ServerFault, match=server.host):
            client.store(server.host, "ns/name").resolve("latest")
        expected = 1 if len(body) > 1_000_000 else 7
        assert len(server.requests("GET", "/token")) == expected


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (404, errors.ServerFault),
        (500, errors.ServerFault),
        (429, errors.TooManyRequests),
        (403, errors.AccessDenied),
        (302, errors.ServerFault),
    ],
)
def test_failing_token_servers(
    make_client: MakeClient, status: int, expected: type[Exception]
) -> None:
    """A token server's failure is not the image's.

    Redirects to another server are none.
    """
    with (
        RegistryServer(gate=Bearer(anonymous=True)) as server,
        RegistryServer() as elsewhere,
    ):
        server.fail(
            path="/token",
            status=status,
            headers={"Location": f"{elsewhere.url}/token"},
            times=None,
        )
        with pytest.raises(expected, match="no token"):
            make_client().store(server.host, "ns/name").resolve("latest")
        assert not elsewhere.log


def test_token_server_is_tried_again(make_client: MakeClient) -> None:
    """Limits of the token server are waited out."""
    with filled(Bearer(anonymous=True)) as server:
        server.fail(path="/token", status=429, times=2)
        store = make_client().store(server.host, "ns/name")
        assert store.resolve("latest") == IMAGE.descriptor


@pytest.mark.parametrize("status", [301, 302, 307])
def test_redirects_of_token_servers(
    make_client: MakeClient, status: int
) -> None:
    """A token server may have another path, such as one with a slash."""
    with filled(Bearer("me", PASSWORD)) as server:
        other = "/token?scope=repository:ns/name:pull"
        server.fail(path="/token", status=status, headers={"Location": other})
        store = opened(make_client, server)
        assert store.resolve("latest") == IMAGE.descriptor


def test_circles_of_token_servers(make_client: MakeClient) -> None:
    """A token server that only redirects is told as such, and soon."""
    with RegistryServer(gate=Bearer(anonymous=True)) as server:
        server.fail(
            path="/token",
            status=302,
            headers={"Location": "/token?again"},
            times=None,
        )
        with pytest.raises(errors.ServerFault, match="redirects 3 times"):
            make_client().store(server.host, "ns/name").resolve("latest")
        assert len(server.requests("GET", "/token")) == 3


def test_pages_in_place_of_tokens(make_client: MakeClient) -> None:
    """A page that asks for a login is told as such, and once."""
    with RegistryServer(gate=Bearer(anonymous=True)) as server:
        server.fail(
            path="/token",
            body=b"<html>Login</html>",
            headers={"Content-Type": "text/html"},
            times=None,
        )
        with pytest.raises(errors.ServerFault) as caught:
            make_client().store(server.host, "ns/name").resolve("latest")
        assert "a web page" in str(caught.value.hint)
        assert len(server.requests("GET", "/token")) == 1


def test_relative_realm(make_client: MakeClient) -> None:
    """A realm may be a path on the registry."""
    with filled(Bearer(anonymous=True, realm="/token")) as server:
        store = make_client().store(server.host, "ns/name")
        assert store.resolve("latest") == IMAGE.descriptor


def test_realm_with_a_query(make_client: MakeClient) -> None:
    """A realm's own query is kept."""
    with filled(Bearer(anonymous=True, realm="/token?tenant=7")) as server:
        make_client().store(server.host, "ns/name").resolve("latest")
        (token,) = server.requests("GET", "/token")
        assert token.path.startswith("/token?tenant=7&service=")


def test_tokens_that_nobody_issues(make_client: MakeClient) -> None:
    """Where the token server fails, a password that is taken as well is."""

    class Both(Basic):
        def challenge(self, base: str, scope: str) -> str:
            return f'Bearer realm="{base}/none", Basic realm="x"'

    with filled(Both("me", PASSWORD)) as server:
        server.fail(path="^/none", status=404, times=None)
        store = opened(make_client, server)
        store.resolve("latest")
        store.resolve("latest")
        assert len(server.requests("GET", "^/none")) == 1


def test_challenge_without_realm(make_client: MakeClient) -> None:
    """A bearer challenge without a realm asks for nothing we have."""
    with RegistryServer() as server:
        server.fail(
            path="/manifests/",
            status=401,
            headers={"WWW-Authenticate": "Bearer"},
            times=None,
        )
        with pytest.raises(errors.AccessDenied):
            make_client().store(server.host, "ns/name").resolve("latest")


def realm_of(realm: str, base: str, known: Credentials) -> list[object]:
    """The requests made for a token when this realm is told."""
    asked: list[object] = []

    class Answer:
        status = 200

        def body(self, limit: int) -> bytes:
            return b'{"token": "x"}'

    def get(url: str, headers: object) -> object:
        asked.append((url.partition("?")[0], headers))
        return Answer()

    host = base.partition("://")[2]
    keeper = auth.Authenticator(
        base,
        host,
        known,
        get,  # type: ignore[arg-type]
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
    )
    keeper.answer(f'Bearer realm="{realm}"', "ns/x", ["s"], None)
    hint = keeper.explain("ns/x")
    return [*asked, hint]


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.quay.io/token",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/token",
        "https://0.0.0.0/token",
        "https://[fe80::1]/token",
        "https://[::ffff:169.254.169.254]/token",
        "https://user:pw@quay.io/token",
        "file:///etc/passwd",
    ],
)
def test_spoofed_realms(realm: str) -> None:
    """A realm that points where it must not is refused unasked.

    The hint says what to correct if the registry is not hostile.
    """
    known = Credentials({"quay.io": ("me", PASSWORD)})
    told = "^quay.io: token realm: refused: "
    with pytest.raises(errors.ServerFault, match=told) as caught:
        realm_of(realm, "https://quay.io", known)
    assert "correct the external address" in str(caught.value.hint)


def test_realm_on_another_site_gets_no_password() -> None:
    """Another site may give an anonymous token; the hint tells why."""
    known = Credentials({"quay.io": ("me", PASSWORD)})
    asked, hint = realm_of("https://evil.example/t", "https://quay.io", known)
    assert asked == ("https://evil.example/t", {})
    assert "were not given to its token server evil.example" in str(hint)


def test_realm_without_tls_gets_no_password() -> None:
    """A registry that may do without TLS does not decide so for others."""
    known = Credentials({"a.example.com:5000": ("me", PASSWORD)})
    asked, hint = realm_of(
        "http://b.example.com/t", "http://a.example.com:5000", known
    )
    assert asked == ("http://b.example.com/t", {})
    assert "b.example.com, which is another host without TLS" in str(hint)


def test_token_server_on_another_port(make_client: MakeClient) -> None:
    """It gets the password of a registry of the same host."""
    gate = Bearer("me", PASSWORD)
    with filled(gate) as server, RegistryServer(gate=gate) as tokens:
        gate.realm = f"{tokens.url}/token"
        opened(make_client, server).resolve("latest")
        (asked,) = tokens.log
        assert asked.headers["Authorization"].startswith("Basic ")


def test_realm_of_docker_hub_gets_the_password() -> None:
    """docker.io's token server is known to be its own."""
    known = Credentials({"docker.io": ("me", PASSWORD)})
    asked, _ = realm_of(
        "https://auth.docker.io/token", "https://registry-1.docker.io", known
    )
    assert isinstance(asked, tuple)
    assert "Authorization" in asked[1]
