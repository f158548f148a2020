"""Proxies for tests, the only way to hosts that do not exist."""

from __future__ import annotations

import base64
import contextlib
import re
import socket
import socketserver
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Self

_HEAD = re.compile(
    rb"(?P<method>[A-Z]+) (?:http://)?(?P<host>[^/ ]+)(?P<path>\S*) HTTP/1.\d"
)


class Proxy:
    """Forwards plain requests, and tunnels the others.

    :param hosts: the ``127.0.0.1:port`` behind each ``host:port``; empty for
        one that a proxy of SOCKS does not reach.
    :param login: ``user:password`` that is asked for, or empty.
    :param tls: makes it speak TLS itself.
    :ivar log: the ``METHOD host:port`` so far.
    :ivar now, most: connections to hosts that are open, and were at most.
    :ivar sent: when how many bytes came from hosts.
    """

    def __init__(
        self,
        hosts: Mapping[str, str],
        login: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.hosts = hosts
        self.login = login
        self.wanted = b""
        if login:
            encoded = base64.b64encode(login.encode())
            self.wanted = b"proxy-authorization: basic " + encoded.lower()
        self.log: list[str] = []
        self.now = self.most = 0
        self.sent: list[tuple[float, int]] = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._server.proxy = self
        self._server.tls = tls
        self.host = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        ).start()

    def _handler(self) -> type[_Handler]:
        return _Handler

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count a connection while the block runs."""
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            yield
        finally:
            with self._lock:
                self.now -= 1


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    block_on_close = False
    proxy: Proxy
    tls: ssl.SSLContext | None


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def setup(self) -> None:
        if self.server.tls is not None:
            self.request = self.server.tls.wrap_socket(
                self.request, server_side=True
            )

    def handle(self) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            more = self.request.recv(65536)
            if not more:
                return
            received += more
        head, _, body = received.partition(b"\r\n\r\n")
        first, _, headers = head.partition(b"\r\n")
        match = _HEAD.fullmatch(first)
        assert match, first
        method, name = match["method"].decode(), match["host"].decode()
        proxy = self.server.proxy
        # What is counted as sent has nearly arrived.
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
        proxy.log.append(f"{method} {name}")
        target = proxy.hosts.get(name)
        if proxy.wanted not in headers.lower():
            self._refuse(b"407 Proxy Authentication Required")
        elif target is None:
            self._refuse(b"502 Bad Gateway")
        else:
            host, _, port = target.rpartition(":")
            with (
                proxy.counting(),
                socket.create_connection((host, int(port))) as onward,
            ):
                if method == "CONNECT":
                    self.request.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                else:
                    # One request for each connection is all it knows.
                    line = b"%s %s HTTP/1.1\r\nConnection: close\r\n" % (
                        match["method"],
                        match["path"],
                    )
                    kept = re.sub(rb"(?im)^connection:.*\r\n", b"", headers)
                    onward.sendall(line + kept + b"\r\n\r\n" + body)
                self._pump_both(onward, closes=method != "CONNECT")

    def _refuse(self, status: bytes) -> None:
        self.request.sendall(
            b"HTTP/1.1 %s\r\nContent-Length: 0\r\n"
            b"Connection: close\r\n\r\n" % status
        )

    def _pump_both(self, onward: socket.socket, *, closes: bool) -> None:
        there = threading.Thread(
            target=_pump, args=(self.request, onward), daemon=True
        )
        there.start()
        if closes:
            # Without it the client would send its next request here, too.
            first = onward.recv(65536)
            status, end, rest = first.partition(b"\r\n")
            self.request.sendall(
                b"%s%sConnection: close\r\n%s" % (status, end, rest)
            )
        _pump(onward, self.request, self.server.proxy.sent)


class _SocksHandler(_Handler):
    """The server's side of RFC 1928, and of RFC 1929 where it has a login."""

    def handle(self) -> None:
        proxy = self.server.proxy
        methods = self._text(skip=1)
        wanted = b"\x02" if proxy.login else b"\x00"
        if wanted not in methods:
            self.request.sendall(b"\x05\xff")
            return
        self.request.sendall(b"\x05" + wanted)
        if proxy.login:
            user, password = self._text(skip=1), self._text()
            known = b"%s:%s" % (user, password) == proxy.login.encode()
            self.request.sendall(b"\x01\x00" if known else b"\x01\x01")
            if not known:
                return
        name = self._text(skip=4).decode()
        port = int.from_bytes(self._bytes(2), "big")
        proxy.log.append(f"SOCKS {name}:{port}")
        target = proxy.hosts.get(f"{name}:{port}")
        # Not allowed by ruleset, or host unreachable.
        reply = b"\x02" if target is None else b"\x00" if target else b"\x04"
        self.request.sendall(b"\x05%s\x00\x01%s" % (reply, bytes(6)))
        if target:
            host, _, target_port = target.rpartition(":")
            with socket.create_connection((host, int(target_port))) as onward:
                self._pump_both(onward, closes=False)

    def _text(self, skip: int = 0) -> bytes:
        """The text after `skip` bytes and its length."""
        return self._bytes(self._bytes(skip + 1)[-1])

    def _bytes(self, count: int) -> bytes:
        received = b""
        while len(received) < count:
            more = self.request.recv(count - len(received))
            assert more
            received += more
        return received


class SocksProxy(Proxy):
    """Forwards connections to hosts by their names, ``socks5h``."""

    def _handler(self) -> type[_Handler]:
        return _SocksHandler


def _pump(
    source: socket.socket,
    target: socket.socket,
    sent: list[tuple[float, int]] | None = None,
) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
            if sent is not None:
                sent.append((time.monotonic(), len(data)))
        target.shutdown(socket.SHUT_WR)
