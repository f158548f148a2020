"""HTTP/1.1 over direct connections, in few steps (RFC 9112).

A run is thousands of small exchanges, and what a general client does for each
of them was a third of its processor time (see the record of decisions, 12).
Here is what a registry needs of HTTP: one exchange at a time on connections
that are kept.
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

#: Bytes of an answer's head, and of what chunks have around them.
_MAX_HEAD = 64 * 1024
_MAX_LINE = 4096
#: Answers before the answer, such as 103: more are an attack.
_MAX_INTERIM = 16
_RECEIVE = 16 * 1024

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
#: Methods that may be sent again where no answer came.
_SAFE = frozenset({"GET", "HEAD"})
#: Seconds to connect, and for each step after that.
Timeout = tuple[float, float]
#: Connects to an origin, within so many seconds.
Connect = Callable[[urls.Origin, float], socket.socket]


class Body(Protocol):
    """A body that is streamed; its length goes into Content-Length."""

    def __iter__(self) -> Iterator[bytes]: ...

    def __len__(self) -> int: ...


class RawResponse(Protocol):
    """An answer whose body is read as it comes."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as they came over the wire; b"" at the end."""
        ...

    def close(self) -> None:
        """Have done with it, read or not."""
        ...


class _Connection:
    """One connection, and what was received on it but not used yet.

    :param idle: where it is kept when it may serve again.
    :param kept: how many there are at most.
    :ivar heard: whether anything came since the last request.
    """

    def __init__(
        self,
        made: socket.socket,
        idle: collections.deque[_Connection],
        kept: int,
    ) -> None:
        self._socket = made
        self._idle = idle
        self._kept = kept
        self._rest = b""
        self._timeout: float | None = None
        self._patience = self._deadline = 0.0
        self._is_whole = True
        self.heard = False

    def is_usable(self) -> bool:
        """Whether the server has neither closed it nor said more."""
        poll = select.poll()
        poll.register(self._socket, select.POLLIN)
        return not poll.poll(0)

    def send(
        self,
        method: str,
        head: bytes,
        body: bytes | Body | None,
        timeout: Timeout,
    ) -> DirectResponse:
        """One exchange, up to the head of its answer."""
        connecting, self._patience = timeout
        each = self._patience
        try:
            # A registry whose disk is busy may stop to read for a while.
            self._wait_for(each if body is None else max(connecting, each))
            self.heard = False
            self._send(head, body)
            return DirectResponse(self, self._receive(), method)
        except BaseException:
            self.close()
            raise

    def _send(self, head: bytes, body: bytes | Body | None) -> None:
        try:
            if isinstance(body, bytes | None):
                self._socket.sendall(head + body if body else head)
                return
            self._socket.sendall(head)
            for piece in body:
                self._socket.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            # Who does not want the body may have said so.
            if not body:
                raise
            self._is_whole = False

    def _receive(self) -> ResponseHead:
        self.begin()
        for _ in range(_MAX_INTERIM):
            head = ResponseHead(self._up_to(b"\r\n\r\n", _MAX_HEAD))
            if head.status >= 200:
                return head
        raise Broken("no final answer")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, from one look at the socket; b"" at its end."""
        if self._rest:
            data, self._rest = self._rest[:size], self._rest[size:]
            return data
        self._wait_for(self._patience)
        return self._socket.recv(size)

    def line(self) -> bytes:
        """One line, with its end."""
        return self._up_to(b"\r\n", _MAX_LINE)

    def begin(self) -> None:
        """Start the timeout of all that is read up to a mark from here on.

        The timeout of the socket bounds each wait only, so a byte at a time
        could make a head last for ever.
        """
        self._deadline = time.monotonic() + self._patience

    def _up_to(self, mark: bytes, limit: int) -> bytes:
        data, start = self._rest, 0
        while (found := data.find(mark, start)) < 0:
            if len(data) > limit:
                raise Broken("an answer with an endless head")
            start = max(0, len(data) - len(mark) + 1)
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._wait_for(left)
            more = self._socket.recv(_RECEIVE)
            if not more:
                raise Broken("closed without an answer")
            self.heard = True
            data += more
        end = found + len(mark)
        self._rest = data[end:]
        return data[:end]

    def _wait_for(self, timeout: float) -> None:
        if timeout != self._timeout:
            self._socket.settimeout(timeout)
            self._timeout = timeout

    def done(self, *, again: bool) -> None:
        """Keep it for another exchange, if it may and can have one."""
        if isinstance(self._socket, ssl.SSLSocket):
            again = again and not self._socket.pending()
        # What came behind the answer belongs to no request.
        again = again and self._is_whole and not self._rest
        if again and len(self._idle) < self._kept:
            self._idle.append(self)
        else:
            self.close()

    def close(self) -> None:
        """Close it, whatever is under way."""
        self._socket.close()


class DirectResponse:
    """An answer whose body is read as it comes.

    Once it is read to its end, its connection serves others.
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
        # Where nothing says how long the body is, it ends with the
        # connection.
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
        """Have done with it; what is not read closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class _Chunks:
    """A body in chunks (RFC 9112, section 7.1)."""

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
    """Connections to servers, kept while they are of use.

    :param connect: makes one.
    :param kept: how many idle ones are kept for each origin.
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
        """Send a request; the answer is given when its head is there.

        :raises OSError: `Broken` among them; the connection is closed then.
        :raises ServerFault: for what cannot be said in a head.
        """
        origin = urls.origin(url)
        length = None if body is None else len(body)
        head = messages.request_head(method, url, headers, length)
        idle = self._idle.setdefault(origin, collections.deque())
        while (kept := _pop(idle)) is not None:
            if not kept.is_usable():
                kept.close()
                continue
            try:
                return kept.send(method, head, body, timeout)
            except ConnectionError:
                # A server closes an idle connection whenever it likes: this
                # request may have met that (RFC 9110, section 9.2.2).
                if kept.heard or method not in _SAFE:
                    raise
                break
        made = self._connect(origin, timeout[0])
        return _Connection(made, idle, self._kept).send(
            method, head, body, timeout
        )

    def close(self) -> None:
        """Close those that nobody uses."""
        for idle in self._idle.values():
            while (kept := _pop(idle)) is not None:
                kept.close()


def _pop(idle: collections.deque[_Connection]) -> _Connection | None:
    """The one that was used last, which is most surely still good."""
    try:
        return idle.pop()
    except IndexError:
        return None
