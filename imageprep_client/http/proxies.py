"""Requests through the proxies of the environment, by urllib3."""

from __future__ import annotations

import base64
import logging
import os
import re
import ssl
import threading
import urllib.parse
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import requests.utils
import urllib3

from imageprep_client import errors
from imageprep_client.http import urls
from imageprep_client.http.connections import Body, Timeout
from imageprep_client.http.limits import TimedResponse

if TYPE_CHECKING:
    from urllib3 import HTTPConnectionPool, PoolManager
    from urllib3.response import BaseHTTPResponse


_SCHEMES = frozenset(
    {"http", "https", "socks4", "socks4a", "socks5", "socks5h"}
)
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f]")
_ENTRY = re.compile(r"[^\s,]+")


class _WithoutQueries(logging.Filter):
    """Removes queries from the log messages of urllib3.

    URLs of storage are signed in their query, so that a reader of the log
    could use them.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                arg.partition("?")[0] if isinstance(arg, str) else arg
                for arg in record.args
            )
        return True


logging.getLogger("urllib3.connectionpool").addFilter(_WithoutQueries())


class ProxiedResponse:
    """A response that came through a proxy."""

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._raw = raw

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they came over the wire; b"" at the end."""
        # One read of the socket; joining parts would copy them.
        return self._raw.read1(size, decode_content=False)

    def close(self) -> None:
        """Release the connection; it is closed if the body was not read."""
        self._raw.close()
        self._raw.release_conn()


class Proxies:
    """Connections through proxies, for one TLS policy.

    :param context: makes the TLS context for servers.
    :param own_context: makes that for the proxies themselves.
    :param size: the maximum number of idle connections of each kind.
    """

    def __init__(
        self,
        context: Callable[[], ssl.SSLContext],
        own_context: Callable[[], ssl.SSLContext],
        size: int,
    ) -> None:
        self._context = context
        self._own_context = own_context
        self._size = size
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, str], PoolManager] = {}
        self._known: dict[urls.Origin, str] = {}

    def of(self, url: str) -> str:
        """The URL of the proxy for this URL, or empty."""
        origin = urls.origin(url)
        proxy = self._known.get(origin)
        if proxy is None:
            proxy = "" if _is_direct(origin) else _named(url)
            self._known[origin] = proxy
        return proxy

    def reader(self, url: str) -> str:
        """The proxy that reads requests to this URL, or empty.

        It reads nothing within TLS, and one of SOCKS reads nothing at all.

        :returns: its URL, without its password.
        """
        proxy = self.of(url)
        is_reader = proxy.startswith("http") and not urls.is_https(url)
        return urls.shown(proxy) if is_reader else ""

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> ProxiedResponse:
        """Send a request; returns after the head of the response arrived.

        :raises urllib3.exceptions.HTTPError: if there is no response.
        """
        connect, read = timeout
        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
            # urllib3 uses the connect timeout for sending, but a registry with
            # a busy disk may pause its reading for longer.
            connect = max(connect, read)
        return ProxiedResponse(
            self._manager(url).urlopen(
                method,
                url,
                body=body,
                headers=headers,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=connect, read=read),
                preload_content=False,
                decode_content=False,
            )
        )

    def _manager(self, url: str) -> PoolManager:
        """The connections that are used for this URL."""
        key = (urls.origin(url)[0], self.of(url))
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._make_manager(*key)
            return self._managers[key]

    def _make_manager(self, scheme: str, proxy: str) -> PoolManager:
        """Make the connections of one kind.

        A worker holds a connection while it reads a blob and acquires another
        to write it, possibly to the same registry. A blocking pool could
        deadlock, and a small pool drops connections. The pool is large and
        does not block.
        """
        options: dict[str, Any] = {"num_pools": 64, "maxsize": self._size}
        if scheme == "https":
            options["ssl_context"] = self._context()
        if proxy.startswith("socks"):
            return _timed(_socks(proxy, options))
        user, password = requests.utils.get_auth_from_url(proxy)
        login = None
        if user:
            pair = f"{user}:{password}".encode()
            basic = base64.b64encode(pair).decode()
            login = {"Proxy-Authorization": f"Basic {basic}"}
        if proxy.startswith("https:"):
            options["proxy_ssl_context"] = self._own_context()
        return _timed(
            urllib3.ProxyManager(proxy, proxy_headers=login, **options)
        )

    def close(self) -> None:
        with self._lock:
            for manager in self._managers.values():
                manager.clear()


def _named(url: str) -> str:
    """The proxy that the environment has for this URL, or empty.

    Reading the environment takes longer than the rest of a request, so it is
    read once for each origin.
    """
    proxies = requests.utils.get_environ_proxies(url)
    found: str = requests.utils.select_proxy(url, proxies) or ""
    if not found:
        return ""
    proxy = found if "://" in found else f"http://{found}"
    try:
        parts = urllib.parse.urlsplit(proxy)
        usable = parts.scheme in _SCHEMES and parts.port != 0
        host = parts.hostname or ""
    except ValueError:
        usable, host = False, ""
    if not usable or not urls.is_host(host) or _UNSENDABLE.search(proxy):
        # The text is left out: a malformed URL may contain a password.
        raise errors.InvalidArgument(
            f"the proxy for {urls.shown(url)} is no URL of a proxy",
            hint=f"correct the environment variable {_variable(url)}: expected"
            " http://host:port, or https or socks5 in place of http",
        )
    return proxy


def is_failure(error: BaseException, proxy: str) -> bool:
    """Whether urllib3 reports a failure of a proxy, or to reach it."""
    # Through SOCKS, connections to the proxy and to the server are one step.
    socks = proxy.startswith("socks")
    return isinstance(error, urllib3.exceptions.ProxyError) or (
        socks and isinstance(error, urllib3.exceptions.ConnectTimeoutError)
    )


def advice(url: str, proxy: str, status: int | None = None) -> str:
    """A hint for a refusal that is, or may be, that of a proxy.

    :param proxy: the URL of the proxy, without its password.
    :param status: of its response; None: it is not reached.
    """
    variable, registry = _variable(url), urls.authority(url)
    if status is None:
        return (
            f"correct the environment variable {variable}; or, if {registry}"
            " is reached without a proxy, list it in NO_PROXY"
        )
    if status == 407:
        scheme = proxy.partition(":")[0]
        return (
            f"{variable} needs a user and a password that the proxy {proxy}"
            f" accepts: {scheme}://user:password@host:port"
        )
    return (
        f"the answer may be that of the proxy {proxy}: if {registry} is"
        " reached without it, list it in NO_PROXY, otherwise ask for"
        " permission there"
    )


def _variable(url: str) -> str:
    """The name of the variable that `requests` takes the proxy from."""
    scheme = urls.origin(url)[0]
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "ALL_PROXY")


def _timed(manager: PoolManager) -> PoolManager:
    """The manager, with a time limit for the heads of responses."""

    def pool(made: type[HTTPConnectionPool]) -> type[HTTPConnectionPool]:
        connection = type(
            "TimedConnection",
            (made.ConnectionCls,),
            {"response_class": TimedResponse},
        )
        return type("TimedPool", (made,), {"ConnectionCls": connection})

    manager.pool_classes_by_scheme = {
        scheme: pool(made)
        for scheme, made in manager.pool_classes_by_scheme.items()
    }
    return manager


def _socks(proxy: str, options: dict[str, Any]) -> PoolManager:
    try:
        from urllib3.contrib.socks import SOCKSProxyManager
    except ImportError as error:
        raise errors.InvalidArgument(
            f"{urls.shown(proxy)}: this kind of proxy needs PySocks",
            hint="pip install 'imageprep-client[socks]', or use an HTTP proxy",
        ) from error
    manager: PoolManager = SOCKSProxyManager(proxy, **options)
    return manager


def _is_direct(origin: urls.Origin) -> bool:
    """Whether a server is this host, or NO_PROXY lists it.

    The requests library, which has the last word on all others, knows neither
    IPv6 networks, nor a port behind an address, nor a wildcard before a
    domain. podman and skopeo know them all.
    """
    _, host, port = origin
    if urls.is_loopback(host):
        return True
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    return any(_lists(entry, host, port) for entry in _ENTRY.findall(listed))


def _lists(entry: str, host: str, port: int) -> bool:
    """Whether an entry of NO_PROXY stands for this server."""
    if entry == "*":
        return True
    address = urls.address(host)
    if address and (network := urls.network(entry.strip("[]"))):
        return address in network
    name, colon, listed_port = entry.lower().rpartition(":")
    if not colon or ":" in name.rpartition("]")[2]:
        name, listed_port = entry.lower(), ""
    if listed_port not in ("", str(port)):
        return False
    domain = name.strip("[]").removeprefix("*").removeprefix(".")
    if address:
        return urls.address(domain) == address
    return bool(domain) and f".{host}".endswith(f".{domain}")
