"""HTTP/1.1 over direct connections (RFC 9112).

A run makes thousands of small exchanges, for which a general client needs a
third of the processor time (see the record of decisions, 12). This module has
the part of HTTP that registries need: one exchange at a time over persistent
connections.
"""

from __future__ import annotations

import collections
import re
import select
import socket
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from imageprep_client.http import messages, urls
from imageprep_client.http.messages import Broken, ResponseHead

#: Bytes of the head of a response, and of the framing of a chunk.
_MAX_HEAD = 64 * 1024
_MAX_LINE = 4096
#: Interim responses, such as 103, before the final one; more are an attack.
_MAX_INTERIM = 16
_RECEIVE = 16 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
#: Methods that may be sent again if there was no response.
_SAFE = frozenset({"GET", "HEAD"})
#: Seconds to connect, and for each step after that.
Timeout = tuple[float, float]
#: Connects to an origin within a number of seconds.
Connect = Callable[[urls.Origin, float], socket.socket]


class Body(Protocol):
    """A streamed body; its length becomes Content-Length."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...


class RawResponse(Protocol):
    """A response whose body is read as it arrives."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they came over the wire; b"" at the end."""
        ...

    def close(self) -> None:
        """Release the connection, whether the body was read or not."""
        ...


class _Connection:
    """A connection with the bytes that were received but not used yet.

    :param idle: the connections that are ready for another exchange.
    :param kept: the maximum number of idle connections.
    :ivar heard: whether bytes arrived since the last request.
    """

    def __init__(
        self,
        made: socket.socket,
        idle: collections.deque[_Connection],
        kept: int,
    ) -> None:
        self._socket = made
        self._poll = select.poll()
        self._poll.register(made, select.POLLIN)
        self._idle = idle
        self._kept = kept
        self._rest = b""
        self._timeout = 0.0
        self._patience = self._deadline = 0.0
        self._is_whole = True
        self.heard = False

    def is_usable(self) -> bool:
        """Whether the server neither closed it nor sent more bytes."""
        return not self._poll.poll(0)

    def send(
        self,
        method: str,
        head: bytes,
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> DirectResponse:
        """Send a request and read the head of the response."""
        self.request(head, body, timeout)
        return self.response(method)

    def request(
        self, head: bytes, body: bytes | Body | None, timeout: Timeout
    ) -> None:
        """Send a request, whose response is read later."""
        connecting, self._patience = timeout
        each = self._patience
        try:
            # A registry with a busy disk may pause its reading.
            self._wait_for(each if body is None else max(connecting, each))
            self.heard = False
            self._send(head, body)
        except BaseException:
            self.close()
            raise

    def response(self, method: str) -> DirectResponse:
        """Read the head of the response to the request that was sent."""
        try:
            return DirectResponse(self, self._receive(), method)
        except BaseException:
            self.close()
            raise

    def _send(self, head: bytes, body: bytes | Body | None) -> None:
        try:
            if body is None or isinstance(body, bytes):
                self._socket.sendall(head + body if body else head)
                return
            self._socket.sendall(head)
            for piece in body:
                self._socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # The server may have refused the body in its response.
            if not body:
                raise
            self._is_whole = False

    def _receive(self) -> ResponseHead:
        self.begin()
        for _ in range(_MAX_INTERIM):
            head = ResponseHead(self._up_to(b"\r\n\r\n", _MAX_HEAD))
            if head.status >= 200:
                return head
        raise Broken("no final response")

    def read(self, size: int) -> bytes:
        """Read up to `size` bytes with one call; b"" at the end."""
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        self._wait_for(self._patience)
        return self._socket.recv(size)

    def line(self) -> bytes:
        """Read one line with its end."""
        return self._up_to(b"\r\n", _MAX_LINE)

    def begin(self) -> None:
        """Start the timeout for reading up to a mark.

        The timeout of the socket bounds single reads only, so that a server
        could send a head byte by byte for ever.
        """
        self._deadline = time.monotonic() + self._patience

    def _up_to(self, mark: bytes, limit: int) -> bytes:
        data, start = self._rest, 0
        while (found := data.find(mark, start)) < 0:
            if len(data) > limit:
                raise Broken("a response with an endless head")
            start = max(0, len(data) - len(mark) + 1)
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._wait_for(left)
            more = self._socket.recv(_RECEIVE)
            if not more:
                raise Broken("closed without a response")
            self.heard = True
            data += more
        end = found + len(mark)
        self._rest = data[end:]
        return data[:end]

    def _wait_for(self, timeout: float) -> None:
        # To set it is a system call; a tenth more does no harm.
        if not timeout <= self._timeout <= 1.1 * timeout:
            self._socket.settimeout(timeout)
            self._timeout = timeout

    def done(self, *, again: bool) -> None:
        """Keep the connection for another exchange, or close it."""
        if isinstance(self._socket, ssl.SSLSocket):
            again = again and not self._socket.pending()
        # Bytes after the response belong to no request.
        again = again and self._is_whole and not self._rest
        if again and len(self._idle) < self._kept:
            self._idle.append(self)
        else:
            self.close()

    def close(self) -> None:
        self._socket.close()


class DirectResponse:
    """A response over a direct connection.

    The connection is used again after the body was read to its end.
    """

    def __init__(
        self, connection: _Connection, head: ResponseHead, method: str
    ) -> None:
        self.status = head.status
        self.headers: Mapping[str, str] = head.headers
        self._connection: _Connection | None = connection
        self._left = head.length(method)
        chunked = self._left is None and head.is_chunked
        self._chunks = _Chunks(connection) if chunked else None
        # A body without a length ends with the connection.
        self._again = head.keeps_alive and (chunked or self._left is not None)
        if self._left == 0:
            self._end()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes of the body; b"" at its end.

        :raises OSError: when the connection ends before the body does.
        """
        connection = self._connection
        if connection is None or not size:
            return b""
        if self._left is not None:
            data = connection.read(min(size, self._left))
            self._left -= len(data)
            if not data:
                raise Broken(f"closed with {self._left} bytes to come")
            if self._left:
                return data
        elif data := (self._chunks or connection).read(size):
            return data
        self._end()
        return data

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.done(again=self._again)
            self._connection = None

    def close(self) -> None:
        """Release the connection; it is closed if the body was not read."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Chunks:
    """A chunked body (RFC 9112, section 7.1)."""

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._left = 0
        self._begun = False

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; b"" at the end."""
        if not self._left:
            self._left = self._next_size()
            if not self._left:
                return b""
        data = self._connection.read(min(size, self._left))
        if not data:
            raise Broken("closed within a chunk")
        self._left -= len(data)
        return data

    def _next_size(self) -> int:
        self._connection.begin()
        if self._begun and self._connection.line() != b"\r\n":
            raise Broken("a malformed chunk")
        self._begun = True
        match = _SIZE.fullmatch(self._connection.line())
        if not match:
            raise Broken("a malformed chunk")
        size = int(match[1], 16)
        if not size:
            self._skip_trailers()
        return size

    def _skip_trailers(self) -> None:
        count = 0
        while (line := self._connection.line()) != b"\r\n":
            count += len(line)
            if count > _MAX_HEAD:
                raise Broken("endless trailers")


class Connections:
    """Persistent connections to servers.

    :param connect: makes a connection.
    :param kept: the maximum number of idle connections of an origin.
    """

    def __init__(self, connect: Connect, kept: int) -> None:
        self._connect = connect
        self._kept = kept
        self._idle: dict[urls.Origin, collections.deque[_Connection]] = {}

    def send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> DirectResponse:
        """Send a request; returns after the head of the response arrived.

        :raises OSError: and its subclass `Broken`; the connection is closed.
        :raises ServerFault: if a header cannot be sent.
        """
        origin = urls.origin(url)
        length = None if body is None else len(body)
        head = messages.request_head(method, url, headers, length)
        idle = self._idle_at(origin)
        while (kept := _usable(idle)) is not None:
            try:
                return kept.send(method, head, body, timeout)
            except ConnectionError:
                # Servers close idle connections at any time, also while a
                # request is on its way (RFC 9110, section 9.2.2).
                if kept.heard or method not in _SAFE:
                    raise
                break
        made = self._connect(origin, timeout[0])
        return _Connection(made, idle, self._kept).send(
            method, head, body, timeout
        )

    def send_ahead(
        self, url: str, headers: Mapping[str, str], timeout: Timeout
    ) -> DirectRequest:
        """Send a GET, whose response is read later.

        :raises OSError: if it cannot be sent.
        :raises ServerFault: as for `send`.
        """
        origin = urls.origin(url)
        head = messages.request_head("GET", url, headers, None)
        idle = self._idle_at(origin)
        kept = _usable(idle)
        connection = kept or _Connection(
            self._connect(origin, timeout[0]), idle, self._kept
        )
        connection.request(head, None, timeout)
        return DirectRequest(connection, reused=kept is not None)

    def _idle_at(self, origin: urls.Origin) -> collections.deque[_Connection]:
        return self._idle.setdefault(origin, collections.deque())

    def close(self) -> None:
        for idle in self._idle.values():
            while (kept := _pop(idle)) is not None:
                kept.close()


class DirectRequest:
    """A GET that was sent over a direct connection.

    Its response is read, or the connection is closed.

    :ivar reused: whether the connection had served a request before.
    """

    def __init__(self, connection: _Connection, *, reused: bool) -> None:
        self.reused = reused
        self._connection = connection
        self._response: DirectResponse | None = None

    def response(self) -> DirectResponse:
        """Wait for the head of the response.

        :raises OSError: as for `Connections.send`.
        """
        self._response = self._connection.response("GET")
        return self._response

    def close(self) -> None:
        """Release the connection; it is closed if the body was not read."""
        (self._response or self._connection).close()


def _usable(idle: collections.deque[_Connection]) -> _Connection | None:
    """A connection that the server did not close so far."""
    while (kept := _pop(idle)) is not None:
        if kept.is_usable():
            return kept
        kept.close()
    return None


def _pop(idle: collections.deque[_Connection]) -> _Connection | None:
    """The connection that was used last, and is least likely closed."""
    try:
        return idle.pop()
    except IndexError:
        return None
