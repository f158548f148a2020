"""Proxies of the environment, with hosts that only a proxy can reach."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3

from imageprep_client import errors
from imageprep_client.http import failures, proxies
from imageprep_client.http.transport import Timeouts
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.stores.registry.store import RegistryStore
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.registry import RegistryServer
from tests import servers
from tests.proxy import Proxy, SocksProxy
from tests.recorder import Recorder

MakeClient = Callable[..., RegistryClient]
Through = Callable[..., RegistryStore]
BLOB = content.blob("proxies", 3_000_000)


@pytest.fixture
def through(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> Through:
    """Opens a repository of registry.test, which need not be verified."""

    def opened(
        proxy: Proxy, *, login: str = "", tls: bool = False, **options: Any
    ) -> RegistryStore:
        variable = "https_proxy" if tls else "HTTP_PROXY"
        monkeypatch.setenv(variable, f"http://{login}{proxy.host}")
        client = make_client(Hosts(insecure=["registry.test"]), **options)
        host = "registry.test" if tls else "registry.test:5000"
        return client.store(host, "ns/name")

    return opened


def test_plain_http(server: RegistryServer, through: Through) -> None:
    """HTTP_PROXY carries blobs both ways."""
    with Proxy({"registry.test:5000": server.host}) as proxy:
        store = through(proxy)
        store_suite.push(store, BLOB)
        assert store_suite.read(store, BLOB.descriptor) == BLOB.data
    assert "PUT registry.test:5000" in proxy.log
    assert server.content.store("ns/name").exists(BLOB.descriptor)


def test_proxies_that_break_large_requests(
    server: RegistryServer, through: Through
) -> None:
    """Content that a proxy broke off is sent in chunks, as squid takes it."""
    server.fail("PUT", larger_than=2**21, reset=True, times=None)
    with Proxy({"registry.test:5000": server.host}) as proxy:
        store = through(proxy)
        with pytest.raises(errors.Unreachable):
            store_suite.push(store, BLOB)
        store_suite.push(store, BLOB)
    assert server.content.store("ns/name").exists(BLOB.descriptor)


def test_large_requests_within_tls(
    secure: RegistryServer, through: Through
) -> None:
    """A connection that breaks within TLS is not blamed on the proxy."""
    secure.fail("PUT", reset=True)
    with Proxy({"registry.test:443": secure.host}) as proxy:
        store = through(proxy, tls=True)
        with pytest.raises(errors.Unreachable):
            store_suite.push(store, BLOB)
        store_suite.push(store, BLOB)
    assert secure.content.store("ns/name").exists(BLOB.descriptor)
    assert not secure.requests("PATCH")


def test_scanning(server: RegistryServer, through: Through) -> None:
    """A proxy that scans content has longer than a registry itself."""
    server.content.store("ns/name").push(BLOB.descriptor, BLOB.open())
    server.fail("GET", "/blobs/", delay=1.5, times=None)
    with Proxy({"registry.test:5000": server.host}) as proxy:
        store = through(proxy, timeouts=Timeouts(2, 0.5))
        assert store_suite.read(store, BLOB.descriptor) == BLOB.data


def test_tls_is_tunnelled_and_verified(
    secure: RegistryServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    certificates: Path,
) -> None:
    """HTTPS_PROXY sees no request; the registry itself is verified."""
    with Proxy({"registry.test:443": secure.host}, "me:Zz9") as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:Zz9@{proxy.host}")
        client = make_client(Hosts(cacert=str(certificates / "ca.crt")))
        store = client.store("registry.test", "ns/name")
        store_suite.push(store, BLOB)
        assert store_suite.read(store, BLOB.descriptor) == BLOB.data
        with pytest.raises(errors.Unreachable, match="cannot be verified"):
            make_client().store("registry.test", "ns/name").resolve("1")
    assert set(proxy.log) == {"CONNECT registry.test:443"}


def test_socks(
    server: RegistryServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A proxy of SOCKS carries blobs both ways, and looks names up."""
    with SocksProxy({"registry.test:5000": server.host}, "me:Zz9") as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://me:Zz9@{proxy.host}")
        client = make_client(Hosts(insecure=["registry.test"]))
        store = client.store("registry.test:5000", "ns/name")
        store_suite.push(store, BLOB)
        assert store_suite.read(store, BLOB.descriptor) == BLOB.data
    assert set(proxy.log) == {"SOCKS registry.test:5000"}


@pytest.mark.parametrize(
    ("hosts", "login", "reason", "hint", "retries"),
    [
        (
            {},
            "me:Zz9",
            "socks5 authentication failed",
            "socks5h://user:password@host:port",
            0,
        ),
        ({}, "", "connection not allowed by ruleset", "ask for permission", 0),
        ({"registry.test:443": ""}, "", "host unreachable", "NO_PROXY", 4),
    ],
)
def test_refusals_of_socks(
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    hosts: dict[str, str],
    login: str,
    reason: str,
    hint: str,
    retries: int,
) -> None:
    """They are told without the password, and not as timeouts; only a host
    that the proxy does not reach may be reached by the next attempt.
    """
    observer = Recorder()
    with SocksProxy(hosts, login) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"socks5h://me:canary@{proxy.host}")
        store = make_client(observer=observer).store("registry.test", "ns/n")
        with pytest.raises(errors.Unreachable) as caught:
            store.resolve("1")
    assert str(caught.value) == f"registry.test through the proxy: {reason}"
    assert hint in str(caught.value.hint)
    assert f"socks5h://{proxy.host}" in str(caught.value.hint)
    assert "canary" not in str(caught.value.hint)
    assert len(observer.retries) == retries


@pytest.mark.parametrize("closes", [False, True])
def test_servers_that_speak_no_socks(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, closes: bool
) -> None:
    """One that is silent, or hangs up, does not refuse anything."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    connection.recv(100)
                    if closes:
                        connection.close()
                    accepted.append(connection)

        accepted: list[socket.socket] = []
        threading.Thread(target=answer, daemon=True).start()
        host = f"127.0.0.1:{listening.getsockname()[1]}"
        monkeypatch.setenv("HTTPS_PROXY", f"socks5h://{host}")
        client = make_client(timeouts=Timeouts(connect=0.3, read=0.3))
        with pytest.raises(errors.Unreachable) as caught:
            client.store("registry.test", "ns/name").resolve("latest")
        listening.shutdown(socket.SHUT_RDWR)
    for connection in accepted:
        connection.close()
    reason = (
        "connection closed unexpectedly" if closes else "timed out (https)"
    )
    assert str(caught.value) == (
        f"registry.test through the proxy socks5h://{host}: {reason}"
    )
    assert caught.value.is_timeout is not closes
    assert str(caught.value.hint).startswith(
        "correct the environment variable HTTPS_PROXY; or, if registry.test is"
    )


def unverified(code: int) -> ssl.SSLError:
    """The failure for this reason, as OpenSSL numbers them."""
    error = ssl.SSLCertVerificationError(1, "x")
    error.verify_code, error.verify_message = code, "not this one"
    return error


def without_tls() -> ssl.SSLError:
    error = ssl.SSLError(1, "x")
    error.reason = "TLSV1_ALERT_PROTOCOL_VERSION"
    return error


@pytest.mark.parametrize(
    ("cause", "hint"),
    [
        (TimeoutError(), "correct the environment variable"),
        (without_tls(), "correct the environment variable"),
        (unverified(10), "renew the certificate"),
        (unverified(62), "use a name that is in the certificate"),
        (unverified(20), "give that of the proxy's authority"),
    ],
)
def test_failures_of_proxies(cause: OSError, hint: str) -> None:
    """Each cause has its own remedy, and it is one at the proxy."""
    error = urllib3.exceptions.ProxyError("x", cause)
    told = failures.unreachable("https://a.test/v2/", error, "https://p.test")
    assert str(told).startswith("a.test through the proxy https://p.test: ")
    assert str(told.hint).startswith(hint)
    assert "insecure" not in str(told.hint)


@pytest.mark.parametrize("insecure", [[], ["registry.test"]])
@pytest.mark.parametrize("scheme", ["http", "https", "socks5h"])
def test_proxies_that_do_not_run(
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    scheme: str,
    insecure: list[str],
) -> None:
    """The proxy is named, and its variable; nothing is said of a registry
    that does not run on this host.
    """
    for variable in ("HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(variable, f"{scheme}://me:canary@127.0.0.1:1")
    client = make_client(
        Hosts(insecure=insecure),
        advise=lambda name: f"nothing listens for {name}",
    )
    with pytest.raises(errors.Unreachable) as caught:
        client.store("registry.test", "ns/name").resolve("latest")
    assert str(caught.value) == (
        f"registry.test through the proxy {scheme}://127.0.0.1:1:"
        " connection refused"
    )
    assert str(caught.value.hint).startswith(
        "correct the environment variable HTTPS_PROXY; or, if registry.test is"
    )


def test_proxies_with_tls(
    server: RegistryServer,
    secure: RegistryServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    certificates: Path,
) -> None:
    """A proxy is verified, even for a registry that is not."""
    context = servers.tls_context(certificates)
    hosts = {"plain.test:5000": server.host, "tls.test:443": secure.host}
    insecure = ["plain.test", "tls.test"]
    with Proxy(hosts, "me:Zz9", tls=context) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"https://me:Zz9@{proxy.host}")
        ca = str(certificates / "ca.crt")
        trusting = make_client(Hosts(insecure=insecure, cacert=ca))
        doubting = make_client(Hosts(insecure=insecure))
        for host in ("plain.test:5000", "tls.test"):
            store = trusting.store(host, "ns/name")
            store_suite.push(store, BLOB)
            assert store_suite.read(store, BLOB.descriptor) == BLOB.data
            before = list(proxy.log)
            with pytest.raises(errors.Unverified) as caught:
                doubting.store(host, "ns/name").resolve("1")
            assert f"{host} through the proxy https://" in str(caught.value)
            assert "the proxy's authority" in str(caught.value.hint)
            assert proxy.log == before


def test_proxies_without_tls(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy whose URL has https by mistake is told as such."""
    with RegistryServer() as no_proxy:
        monkeypatch.setenv("HTTPS_PROXY", f"https://{no_proxy.host}")
        with pytest.raises(errors.Unreachable) as caught:
            make_client().store("registry.test", "ns/name").resolve("1")
    assert "TLS failed (wrong version number)" in str(caught.value)
    assert "begins with http://, not https://" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("host", "login", "status", "attempts", "hint"),
    [
        ("registry.test", "me:Zz9", 407, 1, "https_proxy needs a user"),
        ("unknown.test", "", 502, 5, "in NO_PROXY"),
    ],
)
def test_proxies_that_refuse(
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    login: str,
    status: int,
    attempts: int,
    hint: str,
) -> None:
    """The refusal of a proxy is reported, the proxy's password is not; a
    login that is missing is missing at the next attempt, too.
    """
    with Proxy({}, login) as proxy:
        monkeypatch.setenv("https_proxy", f"http://me:wrong@{proxy.host}")
        with pytest.raises(errors.Unreachable) as caught:
            make_client().store(host, "ns/name").resolve("latest")
    assert (
        str(caught.value) == f"{host} through the proxy: refused with {status}"
    )
    assert proxy.log == [f"CONNECT {host}:443"] * attempts
    assert hint in str(caught.value.hint)
    assert f"http://{proxy.host}" in str(caught.value.hint)
    assert "wrong" not in str(caught.value.hint)


@pytest.mark.parametrize("status", [403, 407, 502, 503, 504])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_proxies_that_refuse_plain_requests(
    server: RegistryServer, through: Through, status: int, method: str
) -> None:
    """The answer of a proxy is not blamed on the login at a registry."""
    page = b"<html><title>ERROR: Access denied</title>"
    server.fail(method, status=status, body=page, times=None)
    with Proxy({"registry.test:5000": server.host}) as proxy:
        store = through(proxy, login="me:canary@")
        with pytest.raises(errors.StoreError, match=str(status)) as caught:
            store.resolve("1") if method == "GET" else store_suite.push(
                store, BLOB
            )
    hint = str(caught.value.hint)
    assert f"the proxy http://{proxy.host}" in hint
    assert ("HTTP_PROXY" if status == 407 else "NO_PROXY") in hint


def test_registries_that_refuse_behind_a_proxy(
    server: RegistryServer, through: Through
) -> None:
    """The reason that a registry gives is its own."""
    said = b'{"errors": [{"code": "DENIED", "message": "no access"}]}'
    server.fail(status=403, body=said, times=None)
    with (
        Proxy({"registry.test:5000": server.host}) as proxy,
        pytest.raises(errors.AccessDenied, match="no access") as caught,
    ):
        through(proxy).resolve("1")
    assert "podman login" in str(caught.value.hint)


def test_refusals_within_tls(secure: RegistryServer, through: Through) -> None:
    """A proxy that passes TLS on cannot have answered."""
    secure.fail(status=403, body=b"", times=None)
    with (
        Proxy({"registry.test:443": secure.host}) as proxy,
        pytest.raises(errors.AccessDenied) as caught,
    ):
        through(proxy, tls=True).resolve("1")
    assert "podman login" in str(caught.value.hint)
    assert "proxy" not in str(caught.value.hint)


def test_busy_registries_within_tls(
    secure: RegistryServer, through: Through
) -> None:
    """A registry that is busy for a while is not out of the proxy's reach."""
    secure.fail(status=503, times=8)
    image = content.image("busy")
    store_suite.push(secure.content.store("ns/name"), *image.pieces)
    patient = RetryPolicy(attempts=12, base=0.001)
    with Proxy({"registry.test:443": secure.host}) as proxy:
        store = through(proxy, tls=True, policy=patient)
        found = store.resolve(image.descriptor.digest)
    assert found == image.descriptor


@pytest.mark.parametrize(
    ("url", "proxy", "reader"),
    [
        ("http://r.test/", "http://me:canary@p.test", "http://p.test"),
        ("http://r.test/", "https://p.test:3128", "https://p.test:3128"),
        ("http://r.test/", "socks5h://p.test", ""),
        ("https://r.test/", "http://p.test", ""),
        ("http://r.test/", "", ""),
    ],
)
def test_readers(
    monkeypatch: pytest.MonkeyPatch, url: str, proxy: str, reader: str
) -> None:
    """Only proxies of HTTP read requests, and only those without TLS."""
    monkeypatch.setenv("ALL_PROXY", proxy)
    made = ssl.create_default_context
    assert proxies.Proxies(made, made, size=1).reader(url) == reader


def test_unknown_hosts_behind_a_proxy(through: Through) -> None:
    """A proxy that cannot reach a registry is believed soon, as a name that
    does not exist is.
    """
    patient = RetryPolicy(attempts=12, base=0.001)
    with (
        Proxy({}) as proxy,
        pytest.raises(errors.Unreachable, match="refused with 502"),
    ):
        through(proxy, policy=patient).resolve("1")
    assert proxy.log.count("GET registry.test:5000") <= 5


@pytest.mark.parametrize("variable", ["NO_PROXY", "no_proxy"])
@pytest.mark.parametrize(
    ("registry", "listed"),
    [
        ("192.0.2.7:5000", "192.0.2.0/24"),
        ("[2001:db8::7]:5000", "x.example, 2001:db8::/64"),
        ("registry.test:5000", ".test"),
        ("registry.test:5000", "registry.test"),
        ("192.0.2.7:5000", "*"),
        ("192.0.2.7:5000", "x.example 192.0.2.7:5000"),
        ("[2001:db8::7]:5000", "[2001:db8::7]:5000"),
        ("[2001:db8::7]:5000", "[2001:db8::7]"),
        ("registry.test:5000", "a.example,*.TEST:5000"),
    ],
)
def test_direct(
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
    registry: str,
    listed: str,
    variable: str,
) -> None:
    """NO_PROXY has hosts, domains and networks; those go past the proxy."""
    reached = []

    def connect(address: object, *_: object, **__: object) -> None:
        reached.append(address)
        raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr("urllib3.util.connection.create_connection", connect)
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")
    with pytest.raises(errors.Unreachable, match="through the proxy"):
        make_client().store(registry, "ns/name").resolve("latest")
    assert set(reached) == {("127.0.0.1", 1)}
    reached.clear()
    monkeypatch.setenv(variable, listed)
    with pytest.raises(errors.Unreachable) as caught:
        make_client().store(registry, "ns/name").resolve("latest")
    assert "proxy" not in str(caught.value)
    host = registry.rpartition(":")[0].strip("[]")
    assert set(reached) == {(host, 5000)}


def test_this_host(
    server: RegistryServer,
    make_client: MakeClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This host is reached without the proxies of the environment."""
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(errors.NotFound):
        make_client().store(server.host, "ns/name").resolve("latest")


@pytest.mark.parametrize(
    "listed",
    ["2001:db8:1::/64", "192.0.2.0/24", "junk", "[2001:db8::7]:80", ".", "*."],
)
def test_other_networks_are_not_direct(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, listed: str
) -> None:
    """A host in none of the listed networks goes through the proxy."""
    monkeypatch.setenv(
        "HTTPS_PROXY", f"http://127.0.0.1:{servers.free_port()}"
    )
    monkeypatch.setenv("no_proxy", listed)
    with pytest.raises(errors.Unreachable, match="through the proxy"):
        make_client().store("[2001:db8::7]", "ns/name").resolve("latest")


def test_trickled_heads(secure: RegistryServer, through: Through) -> None:
    """A whole head has the time of one wait through a proxy, too."""
    secure.fail(trickle=0.1, times=None)
    with Proxy({"registry.test:443": secure.host}) as proxy:
        store = through(
            proxy,
            tls=True,
            policy=RetryPolicy(attempts=1),
            timeouts=Timeouts(2, 0.5),
        )
        begin = time.monotonic()
        with pytest.raises(errors.Unreachable, match="timed out"):
            store.resolve("latest")
    assert time.monotonic() - begin < 15


@pytest.mark.parametrize(
    "proxy",
    [
        "http://me:canary@proxy.test:port",
        "http://me:canary@proxy.test:0",
        "http://me:canary@proxy.test:99999",
        "http://me:canary@[::1",
        "http://me:canary@",
        "http://me:canary/x@proxy.test:3128",
        "http://me:canary@proxy test:3128",
        "ftp://me:canary@proxy.test:3128",
        "me:canary@[proxy.test:3128",
    ],
)
def test_malformed_proxies(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch, proxy: str
) -> None:
    """A malformed proxy is named by its variable, without its password."""
    monkeypatch.setenv("https_proxy", proxy)
    store = make_client().store("registry.test", "ns/name")
    with pytest.raises(errors.InvalidArgument) as caught:
        store.resolve("latest")
    told = "".join(traceback.format_exception(caught.value))
    assert "https_proxy" in str(caught.value.hint)
    assert "canary" not in f"{told}{caught.value.hint}"


def test_passwords_beyond_latin_1(
    server: RegistryServer, through: Through
) -> None:
    """The password of a proxy may have any characters."""
    hosts = {"registry.test:5000": server.host}
    with Proxy(hosts, "me:\u20ac") as proxy, pytest.raises(errors.NotFound):
        through(proxy, login="me:%E2%82%AC@").resolve("latest")
