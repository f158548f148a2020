"""A tree that is served from a thread of the tests."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from imageprep_client.serving import apache as printed
from imageprep_client.serving import listener, server
from imageprep_client.serving.registry import TreeHandler
from imageprep_client.stores.imageserve import ImageServeTree
from tests import apache


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


#: The ways to serve a tree, by name: each takes its directory and gives the
#: URL of the server.
SERVERS: dict[
    str, Callable[[Path], contextlib.AbstractContextManager[str]]
] = {
    "undercloud": functools.partial(
        apache.running, apache.undercloud_virtual_host, hostile=False
    ),
    "old undercloud": functools.partial(
        apache.running, apache.old_undercloud_virtual_host, hostile=False
    ),
    "printed": functools.partial(
        apache.running, printed.virtual_host, hostile=True
    ),
    "serve": running,
}
