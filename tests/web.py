"""A web server for a directory, with or without ranges and validators."""

from __future__ import annotations

import contextlib
import dataclasses
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

_Server = TypeVar("_Server", bound=http.server.HTTPServer)


class QuietServer(http.server.ThreadingHTTPServer):
    """A server that says nothing of clients that hang up.

    Where a test runs a command in its process, stderr is the command's.
    """

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing."""


class QuietHandler(http.server.BaseHTTPRequestHandler):
    """A handler that logs no requests."""

    def log_message(self, *_: object) -> None:
        """Print nothing."""

    def head(
        self, status: int, length: int, headers: Mapping[str, str]
    ) -> None:
        """Send the head of an answer; headers may have another length."""
        self.send_response(status)
        every = {"Content-Length": str(length), **headers}
        for name, value in every.items():
            self.send_header(name, value)
        self.end_headers()

    def answer(
        self, status: int, body: bytes = b"", headers: Mapping[str, str] = {}
    ) -> None:
        """Answer a request; the client may have gone away."""
        self.head(status, len(body), headers)
        with contextlib.suppress(OSError):
            self.wfile.write(body)


@contextlib.contextmanager
def started(server: _Server) -> Iterator[_Server]:
    """A server that serves as long as the block."""
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextlib.contextmanager
def running(
    handler: Callable[..., http.server.BaseHTTPRequestHandler],
) -> Iterator[str]:
    """A server with this handler, on loopback; gives its URL."""
    with started(QuietServer(("127.0.0.1", 0), handler)) as server:
        yield f"http://127.0.0.1:{server.server_port}"


@dataclasses.dataclass
class WebSite:
    """A directory that is served.

    :ivar etags: whether answers have an ETag.
    :ivar ranges: whether parts of a file are given.
    :ivar cut: bytes of a body after which the connection ends, once.
    :ivar cutting: is waited for before that.
    :ivar redirect: where requests are led; ``{path}`` is what they ask for.
    :ivar shift: added to where a range begins, as a broken server does.
    :ivar claimed: the length that an answer says it has, if not its own.
    :ivar sent: bytes of all bodies.
    :ivar asked: the path and the range of each request.
    """

    directory: Path
    url: str = ""
    etags: bool = True
    ranges: bool = True
    cut: int = 0
    cutting: threading.Event | None = None
    shift: int = 0
    redirect: str = ""
    status: int = 0
    claimed: int = 0
    sent: int = 0
    asked: list[tuple[str, str]] = dataclasses.field(default_factory=list)


@contextlib.contextmanager
def served(directory: Path) -> Iterator[WebSite]:
    """A server of a directory, on loopback."""
    site = WebSite(directory)

    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            _answer(self, site)

    with running(Handler) as site.url:
        yield site


def _answer(handler: QuietHandler, site: WebSite) -> None:
    asked = handler.headers.get("Range", "")
    site.asked.append((handler.path, asked))
    path = site.directory / urllib.parse.unquote(handler.path).lstrip("/")
    if site.redirect:
        location = site.redirect.format(path=handler.path)
        handler.head(302, 0, {"Location": location})
        return
    if site.status or not path.is_file():
        handler.head(site.status or 404, 0, {})
        return
    content = path.read_bytes()
    etag = f'"{path.stat().st_mtime_ns:x}-{len(content):x}"'
    headers = {"ETag": etag} if site.etags else {}
    condition = handler.headers.get("If-Range", etag)
    status, start = 200, 0
    if site.ranges and asked and condition == etag:
        start = int(asked.removeprefix("bytes=").rstrip("-")) + site.shift
        status = 206
        last = len(content) - 1
        headers["Content-Range"] = f"bytes {start}-{last}/{len(content)}"
        if start > last:
            headers["Content-Range"] = f"bytes */{len(content)}"
            handler.head(416, 0, headers)
            return
    body = content[start:]
    handler.head(status, site.claimed or len(body), headers)
    if site.claimed:
        handler.close_connection = True
    cut = bool(site.cut and len(body) > site.cut)
    if cut:
        body, site.cut = body[: site.cut], 0
        handler.close_connection = True
    site.sent += len(body)
    with contextlib.suppress(OSError):
        handler.wfile.write(body)
    if cut and site.cutting is not None:
        site.cutting.wait(60)
