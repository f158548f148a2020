"""Tokens of Pulp and of Satellite, which has Pulp behind it."""

from __future__ import annotations

import json

import pytest

from imageprep_client.stores.registry.auth import authenticator
from imageprep_client.stores.registry.auth.credentials import Credentials


class TokenServer:
    """Gives the same token each time, which the request prolongs."""

    status = 200

    def __init__(self, issued_at: str) -> None:
        self.headers = {"Date": "Mon, 30 Nov 2026 19:00:00 GMT"}
        self.fetched = 0
        self._answer = {
            "token": "same",
            "expires_in": 1000,
            "issued_at": issued_at,
        }

    def send(self, url: str, headers: object) -> TokenServer:
        self.fetched += 1
        return self

    def body(self, limit: int) -> bytes:
        return json.dumps(self._answer).encode()


def keeper_of(
    tokens: TokenServer, now: list[float]
) -> authenticator.Authenticator:
    """Keeps tokens of this server, by this clock."""
    return authenticator.Authenticator(
        "https://satellite.example.com",
        "satellite.example.com",
        Credentials(),
        tokens.send,  # type: ignore[arg-type]
        lambda what, fetch: fetch(),
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
