"""Tokens of Pulp and of Satellite, which has Pulp behind it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pytest

from imageprep_client.observer import Observer
from imageprep_client.retry import Retrier
from imageprep_client.stores.registry.auth import authenticator
from imageprep_client.stores.registry.auth.credentials import Credentials
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.gate import Open
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.once import ONE_ATTEMPT


class TokenServer:
    """Gives the same token each time, which the request prolongs."""

    status = 200

    def __init__(self, issued_at: str, lifetime: int = 1000) -> None:
        self.headers = {"Date": "Mon, 30 Nov 2026 19:00:00 GMT"}
        self.fetched = 0
        self.answer = {
            "token": "same",
            "expires_in": lifetime,
            "issued_at": issued_at,
        }

    def send(self, url: str, headers: object) -> TokenServer:
        self.fetched += 1
        return self

    def body(self, limit: int) -> bytes:
        return json.dumps(self.answer).encode()


def keeper_of(
    tokens: TokenServer, now: list[float]
) -> authenticator.Authenticator:
    """Keeps tokens of this server, by this clock."""
    return authenticator.Authenticator(
        "https://satellite.example.com",
        "satellite.example.com",
        Credentials(),
        tokens.send,  # type: ignore[arg-type]
        Retrier(ONE_ATTEMPT, Observer(), threading.Event()),
        clock=lambda: now[0],
    )


REALM = 'Bearer realm="https://satellite.example.com/v2/token"'


def test_a_prolonged_token_is_sent_again() -> None:
    """Satellite prolongs a token that expired, and gives it once more."""
    tokens = TokenServer("2026-11-30T19:00:00Z")
    keeper = keeper_of(tokens, [0.0])
    assert keeper.answer(REALM, "a/b", ["s"], None) == "Bearer same"
    keeper.sent("Bearer same", tokens)  # type: ignore[arg-type]
    assert keeper.answer(REALM, "a/b", ["s"], "Bearer same") == "Bearer same"
    assert keeper.answer(REALM, "a/b", ["s"], "Bearer same") is None
    assert tokens.fetched == 2


@pytest.mark.parametrize(
    ("issued_at", "lifetime"),
    [
        ("2026-11-30T18:50:00Z", 400),
        ("2026-11-30T19:50:00+01:00", 400),
        ("2026-11-30T21:00:00.123456789Z", 1000),
        ("2026-11-30T14:00:00Z", 1000),
        ("2026-11-30T18:50:00", 1000),
        ("yesterday", 1000),
    ],
)
def test_the_life_of_a_token_begins_when_it_was_issued(
    issued_at: str, lifetime: float
) -> None:
    """A time of issue that cannot be right does not count."""
    now = [0.0]
    tokens = TokenServer(issued_at)
    keeper = keeper_of(tokens, now)
    keeper.answer(REALM, "a/b", ["s"], None)
    now[0] = 0.79 * lifetime
    keeper.header("a/b", ["s"])
    assert tokens.fetched == 1
    now[0] = 0.81 * lifetime
    keeper.header("a/b", ["s"])
    assert tokens.fetched == 2


def test_a_token_that_another_request_prolonged() -> None:
    """Of several requests with a token that expires, one prolongs it; the
    others are sent again with it, though no response has accepted it yet.
    """
    now = [0.0]
    tokens = TokenServer("2026-11-30T19:00:00Z")
    keeper = keeper_of(tokens, now)
    same = keeper.answer(REALM, "a/b", ["s"], None)
    keeper.sent(same, tokens)  # type: ignore[arg-type]
    now[0] = 100.0
    assert keeper.answer(REALM, "a/b", ["s"], same, 99.0) == same
    now[0] = 101.0
    assert keeper.answer(REALM, "a/b", ["s"], same, 99.5) == same
    assert tokens.fetched == 2
    assert keeper.answer(REALM, "a/b", ["s"], same, 100.5) is None


def test_a_replaced_token_is_forgotten() -> None:
    """So it is if no response has accepted it."""
    now = [0.0]
    tokens = TokenServer("2026-11-30T19:00:00Z", 60)
    keeper = keeper_of(tokens, now)
    keeper.answer(REALM, "a/b", ["s"], None)
    tokens.answer["token"] = "other"
    now[0] = 100.0
    assert keeper.answer(REALM, "a/b", ["s"], None) == "Bearer other"
    kept = str(vars(keeper))
    assert "Bearer other" in kept
    assert "Bearer same" not in kept


class Satellite(Open):
    """Prolongs its only token, and answers so many requests at once.

    :ivar is_valid: whether the token is.
    """

    def __init__(self) -> None:
        self.is_valid = False
        self.together = threading.Barrier(1)

    def admits(self, authorization: str, scope: str) -> bool:
        admitted = self.is_valid and authorization == "Bearer same"
        self.together.wait(10)
        return admitted

    def challenge(self, base: str, scope: str) -> str:
        return f'Bearer realm="{base}/token"'

    def token(self, authorization: str, scopes: Iterable[str]) -> object:
        self.is_valid = True
        return {"token": "same", "expires_in": 1000}


def test_requests_whose_token_expires_at_once() -> None:
    """One of them prolongs it for both."""
    gate = Satellite()
    with RegistryServer(gate=gate) as server, RegistryClient() as client:
        put(server.content.store("a/b"), content.image("at once"), "1")
        store = client.store(server.host, "a/b")
        assert list(store.tags()) == ["1"]
        gate.is_valid, gate.together = False, threading.Barrier(2)
        with ThreadPoolExecutor(2) as pool:
            lists = [pool.submit(lambda: list(store.tags())) for _ in range(2)]
            assert [one.result() for one in lists] == [["1"], ["1"]]
        assert len(server.requests("GET", "/token")) == 2


@pytest.mark.parametrize("lifetime", [5, 1000])
def test_a_token_that_expired_before_it_was_sent(lifetime: int) -> None:
    """A request may wait for others for longer than its token is valid."""
    now = [0.0]
    tokens = TokenServer("2026-11-30T19:00:00Z", lifetime)
    keeper = keeper_of(tokens, now)
    same = keeper.answer(REALM, "a/b", ["s"], None)
    now[0] = 6.0
    assert keeper.answer(REALM, "a/b", ["s"], same, 5.0) == same
    assert tokens.fetched == 2


def test_a_token_without_a_lifetime_that_is_refused() -> None:
    """It is requested for each request, and once only."""
    tokens = TokenServer("2026-11-30T19:00:00Z", -1)
    keeper = keeper_of(tokens, [0.0])
    same = keeper.answer(REALM, "a/b", ["s"], None)
    assert keeper.answer(REALM, "a/b", ["s"], same, 0.1) is None
    assert keeper.header("a/b", ["s"]) == same
    assert tokens.fetched == 2


@pytest.mark.parametrize(
    "date",
    ["yesterday", f"Mon, {'9' * 20} Nov 2026 19:00:00 GMT", f"{'0' * 9}"],
)
def test_dates_that_cannot_be_read(date: str) -> None:
    """The Date of a token server matters to nobody else."""
    now = [0.0]
    tokens = TokenServer("2026-11-30T18:50:00Z")
    tokens.headers["Date"] = date
    keeper = keeper_of(tokens, now)
    assert keeper.answer(REALM, "a/b", ["s"], None) == "Bearer same"
    now[0] = 790.0
    keeper.header("a/b", ["s"])
    assert tokens.fetched == 1
