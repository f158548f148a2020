"""A TCP proxy before a registry: makes it distant, or counts requests."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import re
import threading
from collections.abc import AsyncIterator, Iterator

_CHUNK = 256 * 1024
_LENGTH = re.compile(rb"(?im)^content-length:\s*(\d+)\s*$")


class Proxy:
    """Passes connections on to a registry.

    :param target: ``host:port``.
    :ivar host: where it listens, likewise.
    :ivar requests: how many came, by method and kind, such as
        ``("GET", "blobs")``; an upload is ``uploads``.
    :ivar sent: bytes of the requests' bodies, likewise.
    """

    def __init__(self, target: str, round_trip: float, counts: bool) -> None:
        self.host = ""
        self.requests: collections.Counter[tuple[str, str]] = (
            collections.Counter()
        )
        self.sent: collections.Counter[tuple[str, str]] = collections.Counter()
        self._host, _, self._port = target.rpartition(":")
        self._round_trip = round_trip
        self._counts = counts

    async def serve(self, ready: threading.Event) -> None:
        """Serve until the task is cancelled."""
        server = await asyncio.start_server(
            self._connected, "127.0.0.1", 0, limit=_CHUNK
        )
        address, port = server.sockets[0].getsockname()
        self.host = f"{address}:{port}"
        ready.set()
        async with server:
            await server.serve_forever()

    async def _connected(
        self, client: asyncio.StreamReader, answers: asyncio.StreamWriter
    ) -> None:
        # A distant client may send only after the handshake's round trip.
        opened = asyncio.get_running_loop().time() + self._round_trip
        sent = self._counted(client) if self._counts else _chunks(client)
        with contextlib.suppress(ConnectionError):
            registry, questions = await asyncio.open_connection(
                self._host, int(self._port), limit=_CHUNK
            )
            await asyncio.gather(
                self._pass(sent, questions, opened),
                self._pass(_chunks(registry), answers, 0.0),
            )

    async def _pass(
        self,
        source: AsyncIterator[bytes],
        target: asyncio.StreamWriter,
        not_before: float,
    ) -> None:
        """Pass on what comes, each piece half a round trip later."""
        clock = asyncio.get_running_loop().time
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(64)

        async def deliver() -> None:
            with contextlib.suppress(ConnectionError):
                while True:
                    due, data = await queue.get()
                    if due > clock():
                        await asyncio.sleep(due - clock())
                    if not data:
                        break
                    target.write(data)
                    await target.drain()
            target.close()

        delivery = asyncio.create_task(deliver())
        with contextlib.suppress(ConnectionError):
            async for data in source:
                due = max(clock(), not_before) + self._round_trip / 2
                await queue.put((due, data))
                if delivery.done():
                    break
        await queue.put((0.0, b""))
        await delivery

    async def _counted(
        self, reader: asyncio.StreamReader
    ) -> AsyncIterator[bytes]:
        """The requests of a client: heads, counted, and their bodies."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                return
            method, path, _ = head.decode("latin-1").split(" ", 2)
            key = (method, _kind(path))
            self.requests[key] += 1
            yield head
            match = _LENGTH.search(head)
            left = int(match[1]) if match else 0
            while left:
                data = await reader.read(min(_CHUNK, left))
                if not data:
                    return
                self.sent[key] += len(data)
                left -= len(data)
                yield data


def _kind(path: str) -> str:
    for kind in ("uploads", "blobs", "manifests", "tags", "referrers"):
        if f"/{kind}/" in path:
            return kind
    return ""


async def _chunks(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    while data := await reader.read(_CHUNK):
        yield data


@contextlib.contextmanager
def running(
    target: str, *, round_trip: float = 0.0, counts: bool = False
) -> Iterator[Proxy]:
    """A proxy in a thread of its own.

    :param round_trip: seconds that it adds to each.
    :param counts: count requests, all of which have to be plain HTTP.
    """
    proxy = Proxy(target, round_trip, counts)
    ready = threading.Event()
    loop = asyncio.new_event_loop()
    task = loop.create_task(proxy.serve(ready))

    def work() -> None:
        asyncio.set_event_loop(loop)
        with contextlib.suppress(asyncio.CancelledError):
            loop.run_until_complete(task)
        rest = asyncio.all_tasks(loop)
        for each in rest:
            each.cancel()
        if rest:
            loop.run_until_complete(asyncio.wait(rest))
        loop.close()

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    ready.wait()
    try:
        yield proxy
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join()
