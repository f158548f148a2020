"""HTTP with TLS, proxies and raw bodies.

`connections` makes direct connections. urllib3 makes those through proxies, as
it supports every kind of proxy.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import socket
import ssl
import threading
import zlib
from collections.abc import Callable, Mapping

import requests.utils
import urllib3
import urllib3.util.connection

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.http import connections, failures, proxies, urls
from imageprep_client.http.connections import Body, RawResponse, Timeout
from imageprep_client.http.limits import Pace
from imageprep_client.http.messages import LENGTH

_log = logging.getLogger(__name__)

#: The authorities of the requests library, which the other commands of
#: ``openstack`` trust, too; the first one that is set counts.
_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: The name of an authority in a directory.
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")

#: An unwanted body is read up to this size, to keep its connection.
_DISCARD = 64 * 1024
_PIECE = 64 * 1024
#: Small messages are sent at once.
_SOCKET_OPTIONS: list[tuple[int, int, int | bytes]] = [
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
]

#: Compressed bodies can exhaust memory, and digests do not apply to their
#: bytes.
_PLAIN = {"Accept-Encoding": "identity"}
_NO_CODINGS = frozenset({"", "identity", "aws-chunked"})


@dataclasses.dataclass(frozen=True, slots=True)
class TLS:
    """A policy for certificates.

    :ivar verify: whether the certificate of the server must be valid.
    :ivar ca_files: authorities in addition to those of the system.
    :ivar cert, key: the certificate of this client, or None.
    """

    verify: bool = True
    ca_files: tuple[str, ...] = ()
    cert: str | None = None
    key: str | None = None


#: The multiple of the timeout that responses through a proxy have at most.
_PROXY_FACTOR = 5.0


@dataclasses.dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait for a connection, and for each part of a response."""

    connect: float = 10.0
    read: float = 60.0

    @property
    def pair(self) -> Timeout:
        return (self.connect, self.read)


class Response:
    """A response whose body was not read yet.

    :ivar url: its URL, after redirects.
    :ivar redirected: whether it came from another origin than requested.
    :ivar authorization: of its request; a server may quote it.
    :ivar proxy: that which read the request, and so may have answered it;
        as `Proxies.reader`.
    :ivar timed_out: called if the body does not arrive in time.
    """

    def __init__(
        self, method: str, url: str, raw: RawResponse, patience: float
    ) -> None:
        self._raw = raw
        self._pace = Pace(patience)
        self.method = method
        self.url = url
        self.status = raw.status
        self.headers = raw.headers
        self.redirected = False
        self.authorization = ""
        self.proxy = ""
        self.timed_out: Callable[[], object] = lambda: None

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they came over the wire; b"" at the end.

        :raises Unreachable: if the connection breaks.
        """
        try:
            return self._pace.read(self._raw.read, size)
        except (urllib3.exceptions.HTTPError, OSError) as error:
            self.close()
            unreachable = failures.unreachable(self.url, error)
            if unreachable.is_timeout:
                self.timed_out()
            raise unreachable from None

    def body(self, limit: int) -> bytes:
        """Read a small body.

        Some registries compress bodies without being asked. The limit applies
        to the decompressed body.

        :raises ServerFault: if it is larger than `limit`, or has a coding
            other than gzip.
        """
        parts = []
        left = limit + 1
        while left > 0 and (data := self.read(min(left, _PIECE))):
            parts.append(data)
            left -= len(data)
        data = b"".join(parts)
        if left > 0 and self.coding is not None:
            data = self._decoded(data, limit + 1)
        if len(data) > limit:
            self.close()
            raise errors.ServerFault(
                f"{urls.shown(self.url)}: a response of over {limit} bytes",
                temporary=False,
            )
        return data

    @property
    def coding(self) -> str | None:
        """The coding of the body, such as ``gzip``; None for identity.

        Ceph and other storage with the interface of S3 keep ``aws-chunked``,
        which is the coding of an upload.
        """
        text = self.headers.get("Content-Encoding", "").lower()
        codings = (coding.strip() for coding in text.split(","))
        return ", ".join(c for c in codings if c not in _NO_CODINGS) or None

    def _decoded(self, data: bytes, limit: int) -> bytes:
        if self.coding not in ("gzip", "x-gzip"):
            raise self.encoded()
        decoder = zlib.decompressobj(wbits=31)
        try:
            data = decoder.decompress(data, limit)
        except zlib.error:
            raise errors.ServerFault(
                f"{urls.shown(self.url)}: a response in damaged gzip"
            ) from None
        if not decoder.eof and len(data) < limit:
            raise errors.ServerFault(
                f"{urls.shown(self.url)}: a response in incomplete gzip"
            )
        return data

    def encoded(self) -> errors.ServerFault:
        """The error for a body that must not be encoded."""
        return errors.ServerFault(
            f"{urls.shown(self.url)}: the response has Content-Encoding:"
            f" {str(self.coding)[:20]!r}, which was not asked for",
            hint="switch compression off in the registry, or in the proxy in"
            " front of it",
            temporary=False,
        )

    def length(self) -> int | None:
        """The length of the decoded body, or None if it is not known."""
        return None if self.coding else self.transferred_length()

    def transferred_length(self) -> int | None:
        """The value of Content-Length, or None without a valid one."""
        text = self.headers.get("Content-Length", "")
        return int(text) if LENGTH.fullmatch(text) else None

    def whole_size(self) -> int | None:
        """The size of the whole content, if this is a range of it."""
        if self.status != 206:
            return self.length()
        text = self.headers.get("Content-Range", "").rpartition("/")[2]
        return int(text) if LENGTH.fullmatch(text) else None

    def discard(self) -> None:
        """Release the connection, which is kept if the body is small."""
        try:
            if len(self.read(_DISCARD)) < _DISCARD:
                self.read(1)
        except errors.Unreachable:
            return
        self.close()

    def close(self) -> None:
        """Release the connection; it is closed if the body was not read."""
        self._raw.close()


class SentRequest:
    """A GET that was sent, and whose response is read later.

    :ivar reused: as for `DirectRequest`.
    """

    def __init__(
        self, url: str, sent: connections.DirectRequest, patience: float
    ) -> None:
        self.reused = sent.reused
        self._url = url
        self._sent = sent
        self._patience = patience

    def response(self) -> Response:
        """Wait for the response.

        :raises Unreachable: if there is none.
        """
        try:
            raw = self._sent.response()
        except OSError as error:
            raise failures.unreachable(self._url, error) from None
        return _answered("GET", self._url, raw, self._patience)

    def close(self) -> None:
        """Release the connection; it is closed if the body was not read."""
        self._sent.close()


class Transport:
    """Connections of one TLS policy, shared by all threads.

    Connections are never shared between policies: one made without
    verification would serve verified requests, too (CVE-2024-35195).
    Cookies and netrc files are not used at all.
    """

    def __init__(self, tls: TLS, size: int) -> None:
        self._tls = tls
        self._lock = threading.Lock()
        self._context: ssl.SSLContext | None = None
        self._direct = connections.Connections(self._connect, size)
        # A registry without a valid certificate, or with one for clients, says
        # nothing about the proxy.
        of_proxies = TLS(ca_files=tls.ca_files)
        self._proxies = proxies.Proxies(
            self._tls_context, lambda: make_context(of_proxies), size
        )

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> Response:
        """Send one request; redirects are not followed.

        :raises Unreachable: if there is no response.
        """
        headers = {**_PLAIN, **headers}
        found = self._proxies.of(url)
        send = self._proxies.send if found else self._direct.send
        try:
            raw = send(method, url, headers, body, timeout)
        except (urllib3.exceptions.HTTPError, OSError, UnicodeError) as error:
            unreachable = failures.unreachable(url, error, urls.shown(found))
            unreachable.proxy = self._proxies.reader(url)
            raise unreachable from None
        response = _answered(method, url, raw, timeout[1])
        if found:
            response.proxy = self._proxies.reader(url)
        return response

    def timeout_factor(self, url: str) -> float:
        """How many times as long as usual a response may take.

        A proxy may read and scan all of a response before it passes it on.
        """
        return _PROXY_FACTOR if self._proxies.of(url) else 1.0

    def send_ahead(
        self, url: str, headers: Mapping[str, str], timeout: Timeout
    ) -> SentRequest | None:
        """Send a GET, whose response is read later.

        :returns: None where a proxy is in between: nothing was sent.
        :raises Unreachable: if it cannot be sent.
        """
        if self._proxies.of(url):
            return None
        try:
            sent = self._direct.send_ahead(url, {**_PLAIN, **headers}, timeout)
        except (OSError, UnicodeError) as error:
            raise failures.unreachable(url, error) from None
        return SentRequest(url, sent, timeout[1])

    def _connect(self, origin: urls.Origin, timeout: float) -> socket.socket:
        scheme, host, port = origin
        # Errors in the files of the operator are reported first.
        context = self._tls_context() if scheme == "https" else None
        made = urllib3.util.connection.create_connection(
            (host, port), timeout, socket_options=_SOCKET_OPTIONS
        )
        if context is None:
            return made
        try:
            return context.wrap_socket(made, server_hostname=host)
        except BaseException:
            made.close()
            raise

    def _tls_context(self) -> ssl.SSLContext:
        """The context, made at first use: reading authorities is slow."""
        with self._lock:
            self._context = self._context or make_context(self._tls)
            return self._context

    def close(self) -> None:
        self._direct.close()
        self._proxies.close()


class Transports:
    """The `Transport` of each TLS policy, made at first use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._transports: dict[TLS, Transport] = {}

    def of(self, tls: TLS) -> Transport:
        """The transport of this policy."""
        with self._lock:
            if tls not in self._transports:
                self._transports[tls] = Transport(tls, self._size)
            return self._transports[tls]

    def close(self) -> None:
        with self._lock:
            for transport in self._transports.values():
                transport.close()


def make_context(tls: TLS) -> ssl.SSLContext:
    """Make the TLS context of a policy.

    :raises InvalidFile: if a file of the policy cannot be used.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    # Python 3.13 began to refuse the authorities that company tools make,
    # without critical constraints or key identifiers; OpenSSL, Go and earlier
    # versions accept them.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    defaults = ssl.get_default_verify_paths()
    if not defaults.cafile and not defaults.capath:
        context.load_verify_locations(requests.utils.DEFAULT_CA_BUNDLE_PATH)
    for path in tls.ca_files:
        _trust(context, path)
    variable = next(filter(os.environ.get, _BUNDLES), None)
    if tls.verify and variable:
        _trust(context, os.environ[variable], variable)
    if tls.cert and tls.key:
        try:
            inputs.check(tls.cert)
            inputs.check(tls.key)
            context.load_cert_chain(tls.cert, tls.key, _no_password)
        except (OSError, ValueError) as error:
            raise _bad_file(
                tls.cert, "client certificate with its key", error
            ) from None
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        # The client has warned of this registry already.
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
    return context


def _trust(
    context: ssl.SSLContext, path: str, variable: str | None = None
) -> None:
    """Trust the authorities of a file.

    :param variable: that of the environment which names it; then it may be a
        directory of hashed names.
    """
    hint = f"{variable} names it" if variable else None
    try:
        if variable and os.path.isdir(path):
            if not any(map(_HASHED.fullmatch, os.listdir(path))):
                raise errors.InvalidFile(
                    path,
                    "no CA certificates with hashed names",
                    hint=f"{hint}; openssl rehash makes such names",
                )
            context.load_verify_locations(capath=path)
        else:
            inputs.check(path)
            context.load_verify_locations(path)
    except OSError as error:  # which ssl.SSLError is
        raise _bad_file(
            path, "CA certificates in PEM format", error, hint
        ) from None


def _no_password() -> str:
    """Refuse to ask for a password, for which OpenSSL uses the terminal."""
    raise ValueError("the key is encrypted")


def _bad_file(
    path: str, what: str, error: Exception, hint: str | None = None
) -> errors.InvalidFile:
    reason = getattr(error, "strerror", None) or str(error)
    if isinstance(error, ssl.SSLError) and error.reason:
        reason = error.reason.replace("_", " ")
    return errors.InvalidFile(
        path, f"no usable {what} ({failures.plain(reason)})", hint=hint
    )


def _answered(
    method: str, url: str, raw: RawResponse, patience: float
) -> Response:
    if _log.isEnabledFor(logging.DEBUG):
        _log.debug("%s %s: %d", method, urls.shown(url), raw.status)
    return Response(method, url, raw, patience)
