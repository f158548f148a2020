"""Identity tokens, which only the token server may see."""

from __future__ import annotations

import http.server
import json
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.stores.registry.auth.credentials import (
    Credentials,
    Inline,
    RegistryCredential,
)
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.gate import Basic, Bearer
from imageprep_client.testing.registry import RegistryServer
from tests import web

MakeClient = Callable[..., RegistryClient]
IDENTITY = "Zz9Identity"


class TokenServer(http.server.ThreadingHTTPServer):
    """Gives tokens of a gate to who has the identity token."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/token"
        self.gate = Bearer("me", "password", realm=self.url)
        self.forms: list[Mapping[str, str]] = []


class _Handler(web.QuietHandler):
    server: TokenServer

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        form = dict(urllib.parse.parse_qsl(self.rfile.read(length).decode()))
        self.server.forms.append(form)
        answer: Any = {}
        if form["refresh_token"] == IDENTITY:
            login = RegistryCredential("me", "password", "").basic
            answer = self.server.gate.token(login, form["scope"].split())
            answer["access_token"] = answer.pop("token")
        self.answer(200 if answer else 401, json.dumps(answer).encode())


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with web.started(TokenServer()) as server:
        yield server


def known(host: str, **entry: str) -> Credentials:
    text = json.dumps({"auths": {host: entry}})
    return Credentials(files=[Inline("DOCKER_AUTH_CONFIG", text)])


def test_identity_token(make_client: MakeClient, tokens: TokenServer) -> None:
    """It is posted to the token server, and buys a token for everything."""
    image = content.image("identity")
    with RegistryServer(gate=tokens.gate) as server:
        hosts = Hosts(credentials=known(server.host, identitytoken=IDENTITY))
        store = make_client(hosts).store(server.host, "ns/name")
        store_suite.store_all(store, image)
        sent = {r.headers.get("Authorization", "") for r in server.log}
        assert not any("Basic" in header for header in sent)
    assert tokens.forms[0] == {
        "grant_type": "refresh_token",
        "client_id": "imageprep-client",
        "service": "registry, of tests",
        "scope": "repository:ns/name:pull,push",
        "refresh_token": IDENTITY,
    }


def test_wrong_identity_token(
    make_client: MakeClient, tokens: TokenServer
) -> None:
    """The hint says where it is from, nothing says what it is."""
    with RegistryServer(gate=tokens.gate) as server:
        hosts = Hosts(credentials=known(server.host, identitytoken="Zz9Wrong"))
        with pytest.raises(errors.AccessDenied) as caught:
            make_client(hosts).store(server.host, "ns/name").resolve("1")
    told = f"{caught.value} {caught.value.hint}"
    assert "used an identity token for" in told
    assert "from DOCKER_AUTH_CONFIG" in told
    assert "Zz9Wrong" not in told


def test_not_for_registries_themselves(make_client: MakeClient) -> None:
    """A registry that asks for a password never sees it."""
    with RegistryServer(gate=Basic("me", IDENTITY)) as server:
        hosts = Hosts(credentials=known(server.host, identitytoken=IDENTITY))
        with pytest.raises(errors.AccessDenied):
            make_client(hosts).store(server.host, "ns/name").resolve("1")
        assert not any("Authorization" in r.headers for r in server.log)


def test_not_shown() -> None:
    """Representations have no token."""
    found = known("a.example", identitytoken=IDENTITY).find("a.example")
    assert found == RegistryCredential(
        "", IDENTITY, "DOCKER_AUTH_CONFIG", True
    )
    assert IDENTITY not in repr([found, Inline("NAME", IDENTITY)])
