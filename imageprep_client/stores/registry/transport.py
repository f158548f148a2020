"""HTTP as this package uses it: connections, TLS, proxies, raw bodies."""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import os
import re
import ssl
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import requests.utils
import urllib3

from imageprep_client import errors
from imageprep_client.stores.registry import urls
from imageprep_client.stores.registry.hosts import TLS

if TYPE_CHECKING:
    from urllib3 import PoolManager
    from urllib3.response import BaseHTTPResponse

# More digits are no length of anything, and slow to convert.
_LENGTH = re.compile(r"[0-9]{1,18}")
#: A body that nobody wants is read up to here to keep its connection.
_DISCARD = 64 * 1024

Timeout = tuple[float, float]

#: What the standard library says of a proxy's answer to CONNECT.
_TUNNEL = re.compile(r"Tunnel connection failed: (\d{3})")


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


class Body(Protocol):
    """A body that is streamed; its length goes into Content-Length."""

    def __iter__(self) -> Iterable[bytes]: ...

    def __len__(self) -> int: ...


class Response:
    """An answer whose body was not read yet.

    :ivar url: the URL that gave it, after redirects.
    :ivar redirected: whether it came from another URL than was asked.
    """

    def __init__(self, method: str, url: str, raw: BaseHTTPResponse) -> None:
        self._raw = raw
        self.method = method
        self.url = url
        self.status = raw.status
        self.headers: Mapping[str, str] = raw.headers
        self.redirected = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they came over the wire; b"" at the end.

        :raises Unreachable: when the connection breaks.
        """
        try:
            # One read of the socket each: gathering pieces copies them.
            return self._raw.read1(size, decode_content=False)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            raise _unreachable(self.url, error) from error

    def body(self, limit: int) -> bytes:
        """The whole of a small body.

        :raises ServerFault: when it is larger than `limit`.
        """
        parts = []
        left = limit + 1
        while left > 0 and (data := self.read(left)):
            parts.append(data)
            left -= len(data)
        if left <= 0:
            self.close()
            fault = errors.ServerFault(
                f"{urls.shown(self.url)}: an answer of over {limit} bytes"
            )
            fault.temporary = False
            raise fault
        return b"".join(parts)

    def length(self) -> int | None:
        """The value of Content-Length, where there is a sound one."""
        text = self.headers.get("Content-Length", "")
        return int(text) if _LENGTH.fullmatch(text) else None

    def discard(self) -> None:
        """Have done with it; the connection is kept if that is cheap."""
        try:
            if len(self.read(_DISCARD)) < _DISCARD:
                self.read(1)
        except errors.Unreachable:
            return
        self.close()

    def close(self) -> None:
        """Have done with it; the connection is dropped unless it is read."""
        self._raw.close()
        self._raw.release_conn()


class Transport:
    """Connections of one TLS policy, shared by all threads.

    Connections are never shared between policies: one made without
    verification would serve verified requests, too (CVE-2024-35195).
    Cookies and netrc files are not used at all.
    """

    def __init__(self, tls: TLS, size: int) -> None:
        self._tls = tls
        self._size = size
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._managers: dict[tuple[str, str], PoolManager] = {}
        self._proxies: dict[tuple[str, str, int], str] = {}

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> Response:
        """Send one request; redirects are not followed.

        :raises Unreachable: when no answer comes.
        """
        # Compressed answers are a way to fill memory, and their bytes are
        # not the ones that a digest speaks of.
        headers = {"Accept-Encoding": "identity", **headers}
        if body is not None:
            headers["Content-Length"] = str(len(body))
        connect, read = timeout
        if body is not None:
            # urllib3 sends by the time for connecting: a registry whose disk
            # is busy may stop to read for longer.
            connect = max(connect, read)
        try:
            raw = self._manager(url).urlopen(
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
        except (urllib3.exceptions.HTTPError, UnicodeError) as error:
            raise _unreachable(url, error) from error
        return Response(method, url, raw)

    def _manager(self, url: str) -> PoolManager:
        """What has the connections that this URL is asked through."""
        origin = urls.origin(url)
        proxy = self._proxies.get(origin)
        if proxy is None:
            proxy = "" if _is_direct(origin[1]) else _proxy(url)
            self._proxies[origin] = proxy
        key = (origin[0], proxy)
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
            # Made at its first use: reading all authorities takes a while.
            self._context = self._context or _context(self._tls)
            options["ssl_context"] = self._context
        if not proxy:
            return urllib3.PoolManager(**options)
        if proxy.startswith("socks"):
            return _socks(proxy, options)
        user, password = requests.utils.get_auth_from_url(proxy)
        login = None
        if user:
            login = urllib3.make_headers(proxy_basic_auth=f"{user}:{password}")
        if proxy.startswith("https:"):
            options["proxy_ssl_context"] = self._context
        return urllib3.ProxyManager(proxy, proxy_headers=login, **options)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            for manager in self._managers.values():
                manager.clear()


def _proxy(url: str) -> str:
    """The proxy that the environment names for this URL, or empty.

    Reading the environment at every request takes longer than the rest of
    a request; so it is read once for each origin.
    """
    proxies = requests.utils.get_environ_proxies(url)
    found: str = requests.utils.select_proxy(url, proxies) or ""
    return found if "://" in found or not found else f"http://{found}"


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


def _context(tls: TLS) -> ssl.SSLContext:
    context = ssl.create_default_context()
    defaults = ssl.get_default_verify_paths()
    if not defaults.cafile and not defaults.capath:
        context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    for path in tls.ca_files:
        try:
            context.load_verify_locations(path)
        except OSError as error:  # which ssl.SSLError is
            raise _bad_file(path, "CA certificates", error) from error
    if tls.cert:
        try:
            context.load_cert_chain(tls.cert, tls.key)
        except OSError as error:
            raise _bad_file(
                tls.cert, "client certificate with its key", error
            ) from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # Who asked for it was warned already, once and by name.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return context


def _bad_file(path: str, what: str, error: OSError) -> errors.InvalidFile:
    reason = error.strerror or error.__class__.__name__
    return errors.InvalidFile(path, f"no usable {what} ({_plain(reason)})")


def _unreachable(url: str, error: Exception) -> errors.Unreachable:
    """One short line in place of what the libraries say."""
    scheme, host, port = urls.origin(url)
    if ":" in host:
        host = f"[{host}]"
    where = host if port in (80, 443) else f"{host}:{port}"
    causes = list(_causes(error))
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _unverified(where, _plain(cause.verify_message))
    via = where
    if any(isinstance(c, urllib3.exceptions.ProxyError) for c in causes):
        via = f"{where} through the proxy"
    for cause in causes:
        if isinstance(cause, ssl.SSLError):
            reason = str(cause.reason or "TLS error").replace("_", " ")
            found = errors.Unreachable(f"{via}: TLS failed ({reason.lower()})")
            if "WRONG_VERSION_NUMBER" in str(cause.reason):
                found.temporary = False
                found.hint = (
                    "the server speaks plain HTTP; if that is meant, give"
                    f" --insecure-registry {where}"
                )
            return found
    for cause in reversed(causes):
        if isinstance(cause, OSError) and cause.strerror:
            return errors.Unreachable(f"{via}: {_plain(cause.strerror)}")
    for cause in causes:
        if isinstance(cause, (TimeoutError, urllib3.exceptions.TimeoutError)):
            return errors.Unreachable(f"{via}: timed out ({scheme})")
    if refused := _TUNNEL.match(str(causes[-1])):
        return errors.Unreachable(f"{via}: refused with {refused[1]}")
    return errors.Unreachable(
        f"{via}: connection broken ({causes[-1].__class__.__name__})"
    )


def _unverified(where: str, reason: str) -> errors.Unverified:
    return errors.Unverified(
        f"{where}: certificate cannot be verified ({reason})",
        hint=(
            "give the certificate of its authority with --cacert or in"
            f" /etc/containers/certs.d/{where}/, or, if anyone may read and"
            f" change what travels, --insecure-registry {where}"
        ),
    )


def _plain(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _causes(error: BaseException) -> Iterable[BaseException]:
    """The error and what is wrapped in it, outermost first."""
    seen: set[int] = set()
    queue: list[object] = [error]
    while queue:
        item = queue.pop(0)
        if not isinstance(item, BaseException) or id(item) in seen:
            continue
        seen.add(id(item))
        yield item
        queue += [
            getattr(item, "reason", None),
            *item.args,
            item.__cause__,
            item.__context__,
        ]
