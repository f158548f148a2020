"""A registry that stops to read for a while."""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Iterator

from imageprep_client.http.transport import Timeouts
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content
from imageprep_client.testing.streams import push
from tests import web
from tests.once import ONE_ATTEMPT


class _Handler(web.QuietHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.answer(200)

    def do_POST(self) -> None:
        place = {"Location": "/v2/ns/name/blobs/uploads/1"}
        self.answer(202, headers=place)

    def do_PUT(self) -> None:
        time.sleep(0.6)
        self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(201)


@contextlib.contextmanager
def slow() -> Iterator[str]:
    """Its ``host:port``."""
    server = web.QuietServer(("127.0.0.1", 0), _Handler)
    # What is sent while it does not read is to wait, not to be buffered.
    server.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    with web.started(server):
        yield f"127.0.0.1:{server.server_port}"


def test_an_upload_outlasts_the_time_for_connecting() -> None:
    """Sending may take as long as reading may."""
    timeouts = Timeouts(connect=0.2, read=30)
    blob = content.blob("large", 16 * 1024 * 1024)
    with (
        slow() as host,
        RegistryClient(policy=ONE_ATTEMPT, timeouts=timeouts) as client,
    ):
        push(client.store(host, "ns/name"), blob)
