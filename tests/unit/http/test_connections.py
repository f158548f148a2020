"""Exchanges over connections whose other end is in the test."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Self

import pytest

from imageprep_client.http import connections, urls
from imageprep_client.http.messages import Broken

URL = "http://h.example/x"
OK = b"HTTP/1.1 200 OK\r\n"
EMPTY = OK + b"Content-Length: 0\r\n\r\n"
TIMEOUT = (5.0, 5.0)


class Counting(socket.socket):
    """A socket that counts how often its timeout is set."""

    count = 0

    def settimeout(self, value: float | None) -> None:
        self.count += 1
        super().settimeout(value)


class Servers:
    """A server with a script for each connection.

    A script has the answer to each request; after the last one the
    connection is closed.

    :ivar asked: the requests, with their bodies.
    :ivar sockets: the ends of the connections that the client has.
    :ivar reads: whether requests are read before they are answered.
    """

    def __init__(self, *scripts: list[bytes], reads: bool = True) -> None:
        self.reads = reads
        self.asked: list[bytes] = []
        self.sockets: list[Counting] = []
        self.made = 0
        self._scripts = list(scripts)
        self._threads: list[threading.Thread] = []
        self.connections = connections.Connections(self._connect, 2)

    def send(
        self, method: str = "GET", body: bytes | connections.Body | None = None
    ) -> connections.DirectResponse:
        return self.connections.send(method, URL, {}, body, TIMEOUT)

    def wait(self) -> None:
        """Until all scripts that were begun are at their end."""
        for thread in self._threads:
            thread.join()

    def _connect(self, origin: urls.Origin, timeout: float) -> socket.socket:
        ours, theirs = socket.socketpair()
        script = self._scripts.pop(0)
        self.made += 1
        thread = threading.Thread(target=self._serve, args=(theirs, script))
        self._threads.append(thread)
        thread.start()
        self.sockets.append(Counting(fileno=ours.detach()))
        return self.sockets[-1]

    def _serve(self, connection: socket.socket, script: list[bytes]) -> None:
        with connection, contextlib.suppress(ConnectionError):
            for answer in script:
                if self.reads:
                    self._read(connection)
                connection.sendall(answer)

    def _read(self, connection: socket.socket) -> None:
        data, end = b"", 1
        while len(data) < end:
            more = connection.recv(1000)
            if not more:
                raise ConnectionError("closed within a request")
            data += more
            head, mark, _ = data.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            size = int(length[1]) if length else 0
            end = len(head) + 4 + size if mark else len(data) + 1
        self.asked.append(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.connections.close()
        self.wait()


class Pieces:
    """A body in pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __len__(self) -> int:
        return sum(map(len, self._pieces))

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def everything(answer: connections.DirectResponse, size: int = 1000) -> bytes:
    return b"".join(iter(lambda: answer.read(size), b""))


BODIES = {
    "length": (b"Content-Length: 9\r\n\r\nsome text", True),
    "chunks": (
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"5\r\nsome \r\n00004;x=y\r\ntext\r\n0\r\n\r\n",
        True,
    ),
    "trailers": (
        b"Transfer-Encoding: chunked\r\n\r\n"
        b"9\r\nsome text\r\n0\r\nX: y\r\nZ: z\r\n\r\n",
        True,
    ),
    "end": (b"\r\nsome text", False),
    "close": (b"Connection: close\r\nContent-Length: 9\r\n\r\nsome text", 0),
}


@pytest.mark.parametrize("size", [1, 4, 1000])
@pytest.mark.parametrize("kind", BODIES)
def test_bodies(kind: str, size: int) -> None:
    """However a body ends, it is read to there, and the connection serves
    again where its server lets it.
    """
    body, again = BODIES[kind]
    scripts = [OK + body, EMPTY] if again else [OK + body]
    with Servers(scripts, [EMPTY]) as servers:
        answer = servers.send()
        assert everything(answer, size) == b"some text"
        assert answer.read(size) == b""
        assert servers.send().status == 200
        assert servers.made == (1 if again else 2)


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", OK + b"Content-Length: 9\r\n\r\n"),
        ("HEAD", OK + b"\r\n"),
        ("GET", b"HTTP/1.1 204 x\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 x\r\nContent-Length: 9\r\n\r\n"),
    ],
)
def test_no_body(method: str, answer: bytes) -> None:
    """Where there can be no body, none is waited for."""
    with Servers([answer, EMPTY]) as servers:
        assert servers.send(method).read(10) == b""
        servers.send()
        assert servers.made == 1


def test_reads_of_nothing() -> None:
    """A read of no bytes is no end."""
    with Servers([OK + b"Content-Length: 2\r\n\r\nab"]) as servers:
        answer = servers.send()
        assert answer.read(0) == b""
        assert everything(answer) == b"ab"


@pytest.mark.parametrize(
    "body",
    [
        b"Content-Length: 9\r\n\r\nsome",
        b"Transfer-Encoding: chunked\r\n\r\n9\r\nsome",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsomeX\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\nx\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n-4\r\nsome\r\n0\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n0\r\nX: y\r\n",
        b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * 9000,
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 20_000,
    ],
)
def test_broken_bodies(body: bytes) -> None:
    """A body that ends early, or not at all, is an error."""
    with Servers([OK + body]) as servers:
        answer = servers.send()
        with pytest.raises(Broken):
            everything(answer)
        answer.close()


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        OK,
        OK + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 103 x\r\n\r\n" * 20,
        b"SSH-2.0-x\r\n\r\n",
    ],
)
def test_no_answers(answer: bytes) -> None:
    """A server without an answer, or without its end, is given up."""
    with Servers([answer]) as servers, pytest.raises(Broken):
        servers.send("POST")


def test_early_answers() -> None:
    """Answers before the answer are passed over."""
    early = b"HTTP/1.1 100 x\r\n\r\nHTTP/1.1 103 x\r\nLink: y\r\n\r\n"
    with Servers([early + EMPTY]) as servers:
        answer = servers.send()
        assert (answer.status, answer.headers.get("link")) == (200, None)


@pytest.mark.parametrize(
    "body", [b"some text", Pieces(b"some ", b"text"), Pieces(), b""]
)
def test_sends_bodies(body: bytes | Pieces) -> None:
    """Bodies are sent with their length."""
    with Servers([EMPTY]) as servers:
        servers.send("PUT", body)
        sent = body if isinstance(body, bytes) else b"".join(body)
        head, _, data = servers.asked[0].partition(b"\r\n\r\n")
        assert data == sent
        assert head.endswith(b"Content-Length: %d" % len(sent))


def test_answer_without_reading() -> None:
    """An answer before the whole request, and a close, are read."""
    refusal = b"HTTP/1.1 413 x\r\nContent-Length: 2\r\n\r\nno"
    large = Pieces(*[bytes(100_000)] * 50)
    with Servers([refusal], [EMPTY], reads=False) as servers:
        answer = servers.send("PUT", large)
        assert (answer.status, everything(answer)) == (413, b"no")
        servers.reads = True
        servers.send()
        assert servers.made == 2


def test_failing_body() -> None:
    """An exception in a body is raised, and ends the connection."""

    class Failing(Pieces):
        def __len__(self) -> int:
            return 3

        def __iter__(self) -> Iterator[bytes]:
            yield b"a"
            raise LookupError("gone")

    with Servers([EMPTY], [EMPTY]) as servers:
        with pytest.raises(LookupError):
            servers.send("PUT", Failing())
        servers.send()
        assert servers.made == 2


def test_closed_while_idle() -> None:
    """A connection that its server closed is not used again."""
    with Servers([EMPTY], [EMPTY]) as servers:
        servers.send("POST")
        servers.wait()
        servers.send("POST")
        assert servers.made == 2


def test_what_comes_unasked() -> None:
    """Bytes behind an answer are never taken for the next one."""
    with Servers([EMPTY + EMPTY[:5], EMPTY], [EMPTY]) as servers:
        servers.send()
        assert servers.send().status == 200
        assert servers.made == 2


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_closed_under_a_request(method: str) -> None:
    """A request that meets the end of a kept connection is sent again, once,
    if it changes nothing.
    """
    with Servers([EMPTY, b""], [EMPTY]) as servers:
        servers.send()
        assert servers.send(method).status == 200
        assert (servers.made, len(servers.asked)) == (2, 3)


@pytest.mark.parametrize(
    ("method", "answer"), [("POST", b""), ("PUT", b""), ("GET", b"HTTP/1.1")]
)
def test_not_sent_again(method: str, answer: bytes) -> None:
    """A request that changes something, or was answered, is sent once."""
    with Servers([EMPTY, answer], [EMPTY]) as servers:
        servers.send()
        with pytest.raises(Broken):
            servers.send(method)
        assert servers.made == 1
        servers.send()


def test_unread_answers() -> None:
    """An answer that nobody reads ends its connection."""
    with Servers([OK + b"Content-Length: 2\r\n\r\nab"], [EMPTY]) as servers:
        servers.send().close()
        servers.send()
        assert servers.made == 2


def test_keeps_some() -> None:
    """Not more connections are kept than are wanted."""
    body = OK + b"Content-Length: 1\r\n\r\na"
    with Servers(*[[body, body]] * 3, [body]) as servers:
        first = [servers.send() for _ in range(3)]
        assert [everything(answer) for answer in first] == [b"a"] * 3
        second = [servers.send() for _ in range(3)]
        assert servers.made == 4
        for answer in second:
            answer.close()


def test_silence() -> None:
    """A silent server is waited for as long as the timeout."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = silent.getsockname()
        pool = connections.Connections(
            lambda origin, timeout: socket.create_connection(address, timeout),
            1,
        )
        with pytest.raises(TimeoutError):
            pool.send("GET", URL, {}, None, (5.0, 0.01))


@pytest.mark.parametrize("size", [0, 64 * 1024])
@pytest.mark.parametrize("wrap", [bytes, Pieces])
def test_slow_reader(
    size: int, wrap: Callable[[bytes], bytes | Pieces]
) -> None:
    """A body that is read too slowly ends with a timeout."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = socket.create_connection(server.getsockname())
        theirs, _ = server.accept()
    stop = threading.Event()
    received = 0

    def trickle() -> None:
        nonlocal received
        with theirs:
            while not stop.wait(0.02):
                received += len(theirs.recv(size))

    thread = threading.Thread(target=trickle)
    pool = connections.Connections(lambda origin, timeout: ours, 1)
    thread.start()
    try:
        with pytest.raises(TimeoutError):
            pool.send("PUT", URL, {}, wrap(bytes(64 * 1024**2)), (0.3, 0.3))
    finally:
        stop.set()
        thread.join()
    assert received < 64 * 1024**2


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"X: " + b"y" * 100,
        b"HTTP/1.1 100 x\r\n\r\n" * 15,
        OK + b"Transfer-Encoding: chunked\r\n\r\n1;" + b"x" * 100,
        OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 50,
    ],
    ids=["head", "interim", "chunk", "trailers"],
)
def test_trickled_framing(answer: bytes) -> None:
    """Heads, interim answers, chunk sizes and trailers come in time."""
    ours, theirs = socket.socketpair()
    stop = threading.Event()

    def trickle() -> None:
        with theirs, contextlib.suppress(OSError):
            for byte in answer:
                theirs.sendall(bytes([byte]))
                stop.wait(0.02)

    thread = threading.Thread(target=trickle)
    pool = connections.Connections(lambda origin, timeout: ours, 1)
    thread.start()
    try:
        with pytest.raises(TimeoutError):
            everything(pool.send("GET", URL, {}, None, (5.0, 0.5)))
    finally:
        stop.set()
        ours.close()
        thread.join()


def test_timeout_is_set_once() -> None:
    """Exchanges with the same timeout need no system call for it."""
    with Servers([EMPTY] * 3) as server:
        for _ in range(3):
            server.send().close()
        (used,) = server.sockets
        assert used.count == 1
