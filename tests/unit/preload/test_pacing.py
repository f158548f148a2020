"""The proxy of a node that paces, in front of real servers."""

from __future__ import annotations

import http.client
import types
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.proxy import Proxy

_RATE = 1_000_000
_AWAY = "registry.test:5000"


class Clock:
    """A clock that sleeping advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def blob() -> content.Piece:
    return content.blob("paced", 300_000)


@pytest.fixture
def server(blob: content.Piece) -> Iterator[RegistryServer]:
    with RegistryServer() as running:
        image = content.image("paced", [blob])
        put(running.content.store("ns/api"), image, "1")
        yield running


def get(url: str, variables: Mapping[str, str]) -> bytes:
    """Download by the proxy that variables name."""
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({"http": variables["http_proxy"]})
    )
    with opener.open(url, timeout=60) as answer:
        data: bytes = answer.read()
        return data


def test_bytes_come_at_the_rate(
    pacing: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bytes take the time of the rate, but for a tenth of a second after a
    pause, however long it was.
    """
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    pace = pacing.Pace(_RATE)
    for _ in range(2):
        began = clock.now
        for _ in range(500):
            pace.wait(16_384)
        left = 500 * 16_384 / _RATE - (clock.now - began)
        assert -0.001 <= left <= 0.101
        clock.now += 3600


def test_rate_of_the_controller(
    pacing: types.ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Another rate counts within a second, and what is none does not."""
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    told = tmp_path / "told"
    pace = pacing.Pace(_RATE, str(told))
    for text, rate in (
        (None, _RATE),
        ("4000000\n", 4 * _RATE),
        ("", 4 * _RATE),
        ("-1", 4 * _RATE),
        ("x", 4 * _RATE),
        ("2000000", 2 * _RATE),
    ):
        if text is not None:
            told.write_text(text)
        clock.now += 60
        began = clock.now
        for _ in range(500):
            pace.wait(16_384)
        left = 500 * 16_384 / rate - (clock.now - began)
        assert -0.001 <= left <= 0.101


def test_download_of_a_registry(
    pacing: types.ModuleType, server: RegistryServer, blob: content.Piece
) -> None:
    """A blob comes whole by a plain request, and its bytes are counted."""
    waited: list[int] = []
    with pacing.Proxy(pacing.Pace(_RATE)) as proxy:
        proxy.pace.wait = waited.append
        url = f"http://{server.host}/v2/ns/api/blobs/{blob.descriptor.digest}"
        assert get(url, proxy.variables) == blob.data
        proxy.shutdown()
    assert sum(waited) >= len(blob.data)


@pytest.mark.parametrize("login", ["", "me:Zz9"])
def test_proxy_of_the_site(
    pacing: types.ModuleType,
    server: RegistryServer,
    blob: content.Piece,
    monkeypatch: pytest.MonkeyPatch,
    login: str,
) -> None:
    """A proxy of the environment, with its login, is behind this one, for
    requests and for tunnels.
    """
    with Proxy({_AWAY: server.host}, login) as away:
        at = f"{login}@" if login else ""
        for name in ("http_proxy", "https_proxy"):
            monkeypatch.setenv(name, f"http://{at}{away.host}")
        monkeypatch.setenv("no_proxy", "")
        path = f"/v2/ns/api/blobs/{blob.descriptor.digest}"
        with pacing.Proxy(pacing.Pace(1e9)) as proxy:
            assert get(f"http://{_AWAY}{path}", proxy.variables) == blob.data
            connection = http.client.HTTPConnection(
                "127.0.0.1", proxy.server_address[1], timeout=60
            )
            connection.set_tunnel(
                _AWAY, headers={"Proxy-Authorization": proxy.login.decode()}
            )
            connection.request("GET", path)
            assert connection.getresponse().read() == blob.data
            connection.close()
            proxy.shutdown()
    assert away.log == [f"GET {_AWAY}", f"CONNECT {_AWAY}"]


def test_refusals(pacing: types.ModuleType, server: RegistryServer) -> None:
    """Others on the node cannot use it; a host that is not there is told."""
    with pacing.Proxy(pacing.Pace(_RATE)) as proxy:
        port = proxy.server_address[1]
        for user in ("", "node:wrong@"):
            stranger = {"http_proxy": f"http://{user}127.0.0.1:{port}"}
            with pytest.raises(urllib.error.HTTPError, match="407"):
                get(f"http://{server.host}/v2/", stranger)
        with pytest.raises(urllib.error.HTTPError, match="502"):
            get("http://127.0.0.1:1/v2/", proxy.variables)
        proxy.shutdown()
