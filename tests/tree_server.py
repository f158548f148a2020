"""A tree that is served from a thread of the tests."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import socket
import threading
from collections.abc import Iterator, Sequence

from imageprep_client.serving import listener, server
from imageprep_client.serving.registry import TreeHandler
from imageprep_client.stores.imageserve import ImageServeTree


@contextlib.contextmanager
def running(
    tree: str | os.PathLike[str],
    listen: str = "127.0.0.1:0",
    *,
    idle: float = listener.IDLE,
) -> Iterator[str]:
    """Serve a tree from a thread for the duration of the block.

    :param idle: seconds without progress after which a connection is closed.
    :returns: the URL, such as ``http://127.0.0.1:43210``.
    """
    started: concurrent.futures.Future[asyncio.AbstractEventLoop]
    started = concurrent.futures.Future()
    stop = asyncio.Event()

    async def run(sockets: Sequence[socket.socket]) -> None:
        handler = TreeHandler(ImageServeTree(tree))
        async with listener.serving(handler, sockets, idle):
            started.set_result(asyncio.get_running_loop())
            await stop.wait()

    with server.bound(tree, listen, idle) as (sockets, url):
        thread = threading.Thread(
            target=lambda: asyncio.run(run(sockets)),
            name="registry",
            daemon=True,
        )
        thread.start()
        loop = started.result()
        try:
            yield url
        finally:
            loop.call_soon_threadsafe(stop.set)
            thread.join()
