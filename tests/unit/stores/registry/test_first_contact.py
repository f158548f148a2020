"""Connections to a registry whose first answer takes long."""

from __future__ import annotations

import contextlib
import http.server
import socket
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content

_IMAGE = content.image("x").descriptor
_THREADS = 3
_NOT_TLS = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", _IMAGE.media_type)
        self.send_header("Docker-Content-Digest", _IMAGE.digest)
        self.send_header("Content-Length", str(_IMAGE.size))
        self.end_headers()


class _Slow(http.server.ThreadingHTTPServer):
    """Answers when every thread has connected, or after 5 s.

    :ivar unused: set when the client closes a connection without a use.
    """

    def __init__(self, context: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.connected = threading.Barrier(_THREADS)
        self.unused = threading.Event()
        self._context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        if not self.connected.broken:
            with contextlib.suppress(threading.BrokenBarrierError):
                self.connected.wait(timeout=5)
        first = request.recv(1, socket.MSG_PEEK)
        if not first:
            self.unused.set()
        elif not self._context:
            super().finish_request(request, client_address)
        elif first != b"\x16":
            # The rest of the connections come in any number.
            self.connected.abort()
            request.sendall(_NOT_TLS)
        else:
            secure = self._context.wrap_socket(request, server_side=True)
            super().finish_request(secure, client_address)


@contextlib.contextmanager
def _running(context: ssl.SSLContext | None = None) -> Iterator[_Slow]:
    with _Slow(context) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _resolve(client: RegistryClient, server: _Slow) -> None:
    store = client.store(f"127.0.0.1:{server.server_port}", "ns/a")
    with ThreadPoolExecutor(_THREADS) as pool:
        assert set(pool.map(store.resolve, "123")) == {_IMAGE}


def test_all_threads_connect(client: RegistryClient) -> None:
    """The threads that wait for the first answer connect meanwhile."""
    with _running() as server:
        _resolve(client, server)
        client.close()
        assert not server.connected.broken


def test_connections_of_no_use_are_closed(
    client: RegistryClient, certificates: Path
) -> None:
    """None stays open to a server that turns out to speak TLS only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(
        certificates / "server.crt", certificates / "server.key"
    )
    with _running(context) as server:
        _resolve(client, server)
        assert server.unused.wait(timeout=5)
        client.close()
