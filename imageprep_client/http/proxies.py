"""Requests through the proxies that the environment names; urllib3 does it."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
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


class _WithoutQueries(logging.Filter):
    """Takes queries out of what urllib3 logs of requests.

    A redirect to storage is signed in its query: who reads the log could
    use it.
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
    """An answer that came through a proxy."""

    def __init__(self, raw: BaseHTTPResponse) -> None:
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self._raw = raw

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they came over the wire; b"" at the end."""
        # One read of the socket each: gathering pieces copies them.
        return self._raw.read1(size, decode_content=False)

    def close(self) -> None:
        """Have done with it; the connection is dropped unless it is read."""
        self._raw.close()
        self._raw.release_conn()


class Proxies:
    """The ways through proxies, for one TLS policy.

    :param context: gives what verifies servers and proxies.
    :param size: how many connections of each kind are kept.
    """

    def __init__(
        self, context: Callable[[], ssl.SSLContext], size: int
    ) -> None:
        self._context = context
        self._size = size
        self._lock = threading.Lock()
        self._managers: dict[tuple[str, str], PoolManager] = {}
        self._known: dict[urls.Origin, str] = {}

    def of(self, url: str) -> str:
        """The proxy that this URL is asked through, or empty."""
        origin = urls.origin(url)
        proxy = self._known.get(origin)
        if proxy is None:
            proxy = "" if _is_direct(origin[1]) else _named(url)
            self._known[origin] = proxy
        return proxy

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> ProxiedResponse:
        """Send a request; the answer is given when its head is there.

        :raises urllib3.exceptions.HTTPError: when no answer comes.
        """
        connect, read = timeout
        if body is not None:
            headers = {**headers, "Content-Length": str(len(body))}
            # urllib3 sends by the time for connecting: a registry whose disk
            # is busy may stop to read for longer.
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
        """What has the connections that this URL is asked through."""
        key = (urls.origin(url)[0], self.of(url))
        with self._lock:
            if key not in self._managers:
                self._managers[key] = self._make_manager(*key)
            return self._managers[key]

    def _make_manager(self, scheme: str, proxy: str) -> PoolManager:
        """Connections of one kind.

        A worker holds a connection while it reads a blob and takes another
        to write it, maybe to the same registry. A pool that blocks when it
        is empty could then stop all of them; one that is too small throws
        connections away. So it does not block and is large.
        """
        options: dict[str, Any] = {"num_pools": 64, "maxsize": self._size}
        if scheme == "https" or proxy.startswith("https:"):
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
            options["proxy_ssl_context"] = self._context()
        return _timed(
            urllib3.ProxyManager(proxy, proxy_headers=login, **options)
        )

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()


def _named(url: str) -> str:
    """The proxy that the environment names for this URL, or empty.

    Reading the environment at every request takes longer than the rest of
    a request; so it is read once for each origin.
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
        # Without its text: a malformed URL may have a password anywhere.
        raise errors.InvalidArgument(
            f"the proxy for {urls.shown(url)} is no URL of a proxy",
            hint=f"correct the environment variable {_variable(url)}: expected"
            " http://host:port, or https or socks5 in place of http",
        )
    return proxy


def _variable(url: str) -> str:
    """The name of the variable that `requests` takes the proxy from."""
    scheme = urls.origin(url)[0]
    names = (f"{scheme}_proxy", f"{scheme}_proxy".upper())
    return next((name for name in names if os.environ.get(name)), "ALL_PROXY")


def _timed(manager: PoolManager) -> PoolManager:
    """The same; the heads of its responses have a time limit."""

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
            hint="pip install PySocks, or use an HTTP proxy",
        ) from error
    manager: PoolManager = SOCKSProxyManager(proxy, **options)
    return manager


def _is_direct(host: str) -> bool:
    """Whether a host is this one, or in an IPv6 network of NO_PROXY.

    All else of NO_PROXY is the requests library's.
    """
    if urls.is_loopback(host):
        return True
    address = urls.address(host)
    if not isinstance(address, ipaddress.IPv6Address):
        return False
    listed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    for text in listed.split(","):
        with contextlib.suppress(ValueError):
            if address in ipaddress.IPv6Network(text.strip(), strict=False):
                return True
    return False
