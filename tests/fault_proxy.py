"""A web server that passes all on to another, but for the faults of a test."""

from __future__ import annotations

import http.client
import http.server
import ssl
import sys
import threading
from collections.abc import Sequence
from typing import Any, Self

from imageprep_client.testing.faults import Failing, Fault, Faults

#: Of one connection only.
_HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


class FaultProxy(Failing):
    """Serves from its creation until it is closed.

    Of the faults it knows those with a status, `reset`, `truncate`,
    `corrupt` and `delay`.

    :param target: ``127.0.0.1:port`` of the other server.
    :param tls: serve TLS with this context.
    :ivar url: where it listens.
    :ivar silent: set when the first answer is delayed.
    """

    def __init__(
        self,
        target: str,
        faults: Sequence[Fault] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(Faults(faults))
        self.target = target
        self.silent = threading.Event()
        self.closed = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.proxy = self
        if tls:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True
            )
        port = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{port}"
        threading.Thread(
            target=self._server.serve_forever, args=(0.01,), daemon=True
        ).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.closed.set()
        self._server.shutdown()
        self._server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    proxy: FaultProxy

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error of a test."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _pass_on(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        sent = self.rfile.read(length) if length else None
        proxy = self.server.proxy
        fault = proxy.faults.of(self.command, self.path) or Fault()
        if fault.delay:
            proxy.silent.set()
            proxy.closed.wait(fault.delay)
        if fault.reset:
            self.close_connection = True
            return
        if fault.status:
            self._answer(fault.status, [], b"")
            return
        onward = http.client.HTTPConnection(proxy.target, timeout=20)
        try:
            onward.request(self.command, self.path, sent, dict(self.headers))
            answer = onward.getresponse()
            body = bytearray(answer.read())
            if fault.corrupt is not None:
                body[fault.corrupt] ^= 1
            self._answer(
                answer.status, answer.getheaders(), body, fault.truncate
            )
        finally:
            onward.close()

    def _answer(
        self,
        status: int,
        headers: Sequence[tuple[str, str]],
        body: bytes | bytearray,
        truncate: int | None = None,
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in _HOP:
                self.send_header(name, value)
        if "content-length" not in {name.lower() for name, _ in headers}:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:truncate])
        self.close_connection |= truncate is not None

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is logged."""
