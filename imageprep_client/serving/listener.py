"""The socket of a server, and its limits for clients.

A connection is closed if its client sends no complete request, or reads
nothing of a response, for `IDLE` seconds. File descriptors limit the number
of connections, so that accepting one does not fail.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import resource
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.serving.address import Address

try:
    from aiohttp import web
except ModuleNotFoundError as _error:
    raise errors.InputError(
        "aiohttp is not installed",
        hint="pip install 'imageprep-client[serve]'",
    ) from _error

#: Seconds without progress after which a connection is closed.
IDLE = 60.0
#: Seconds that transfers get to end when the server is told to stop.
_GRACE = 2.0
#: Connections that wait to be accepted.
_BACKLOG = 128
#: Descriptors that are not for connections: standard streams, the event loop,
#: the directories of the tree.
_RESERVED = 96
#: Each connection may have a file open.
_PER_CONNECTION = 2
#: Each connection may have some hundred kilobytes that wait to be sent.
_MAX_DESCRIPTORS = 4096
#: Seconds in which the same warning is given once.
_QUIET = 60.0
_HINTS = {
    errno.EADDRINUSE: "another server listens there; name another port with"
    " --listen, or 0 for a free one",
    errno.EADDRNOTAVAIL: "name an address of this host with --listen, or * for"
    " all of them",
}

_log = logging.getLogger(__name__)


def bind(address: Address, idle: float = IDLE) -> list[socket.socket]:
    """Listen at an address.

    The sockets are for `serving`; the caller closes them.

    :param idle: seconds without progress after which a connection is closed.
    :raises InvalidArgument: if the address cannot be used.
    """
    host = None if address.host == "*" else address.host
    bound: list[socket.socket] = []
    port = address.port
    try:
        places = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, place in dict.fromkeys(places):
            listener = socket.socket(family, kind, protocol)
            bound.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            # Connections inherit it. It ends those whose clients are gone, or
            # read nothing.
            listener.setsockopt(
                socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(idle * 1000)
            )
            listener.setblocking(False)
            listener.bind((place[0], port, *place[2:]))
            listener.listen(_BACKLOG)
            port = listener.getsockname()[1]
    except OSError as error:
        for listener in bound:
            listener.close()
        raise errors.InvalidArgument(
            f"cannot listen on {address}: {errors.reason(error)}",
            hint=_HINTS.get(error.errno or 0),
        ) from error
    return bound


@contextlib.asynccontextmanager
async def serving(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    sockets: Sequence[socket.socket],
    idle: float = IDLE,
) -> AsyncIterator[None]:
    """Serve on sockets of `bind` for the duration of the block."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_Warnings())
    runner = web.ServerRunner(
        web.Server(handler, access_log=None, keepalive_timeout=idle),
        shutdown_timeout=_GRACE,
    )
    limit = _limit()
    servers: list[asyncio.Server] = []
    try:
        await runner.setup()
        for listener in sockets:
            # One process must not accept all connections that wait at once.
            servers.append(
                await loop.create_server(
                    _bounded(runner, limit), sock=listener, backlog=1
                )
            )
            listener.listen(_BACKLOG)
        yield
    finally:
        for server in servers:
            server.close()
        await runner.cleanup()


def raise_descriptor_limit() -> None:
    """Raise the limit of descriptors as far as allowed, within bounds."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _MAX_DESCRIPTORS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _limit() -> int:
    """The highest number of connections."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        soft = _MAX_DESCRIPTORS
    reserved = min(_RESERVED, soft // 2)
    return max(1, (soft - reserved) // _PER_CONNECTION)


def _bounded(
    runner: web.ServerRunner, limit: int
) -> Callable[[], asyncio.BaseProtocol]:
    """Make protocols of a server; one over the limit hangs up."""

    def make() -> asyncio.BaseProtocol:
        server = runner.server
        if server is None or len(server.connections) >= limit:
            return _HangUp()
        return server()

    return make


class _HangUp(asyncio.Protocol):
    """Closes the connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


class _Warnings:
    """Logs each kind of fault in the event loop at most once a minute.

    By default each occurrence is logged with a traceback: a process without
    free descriptors would fill a disk.
    """

    def __init__(self) -> None:
        self._given: dict[str, float] = {}

    def __call__(
        self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]
    ) -> None:
        message = str(context["message"])
        now = time.monotonic()
        if now - self._given.get(message, -_QUIET) < _QUIET:
            return
        self._given[message] = now
        error = context.get("exception")
        if isinstance(error, OSError):
            _log.warning("%s: %s", message, error.strerror)
        else:
            loop.default_exception_handler(context)
