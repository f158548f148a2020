"""A read-only registry over a tree: pull and content discovery."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import NoReturn

from imageprep_client import errors
from imageprep_client.serving import listener
from imageprep_client.serving.address import Address
from imageprep_client.serving.registry import TreeHandler
from imageprep_client.stores.imageserve import ImageServeTree

#: Processes that serve one tree at most; each has an event loop.
_MAX_PROCESSES = 4


def serve(tree: str, listen: str, announce: Callable[[str], None]) -> None:
    """Serve a tree until SIGINT or SIGTERM, with several processes.

    :param announce: called with a line that names the tree and the URL as
        soon as connections are taken.
    :raises InvalidArgument: when nobody can listen there.
    :raises NotFound: when there is no tree.
    """
    listener.raise_descriptor_limit()
    with bound(tree, listen) as (sockets, url):
        count = min(_MAX_PROCESSES, len(os.sched_getaffinity(0)))
        with _children(tree, sockets, count - 1):
            announce(f"serving {tree} on {url}")
            asyncio.run(_until_told(tree, sockets, None))


@contextlib.contextmanager
def _children(
    tree: str, sockets: Sequence[socket.socket], count: int
) -> Iterator[None]:
    """More processes that serve, until the end of the block or of this one."""
    lifeline, held = os.pipe()
    processes = []
    try:
        for _ in range(count):
            process = os.fork()
            if process == 0:
                os.close(held)
                _be_child(tree, sockets, lifeline)
            processes.append(process)
        yield
    finally:
        # They see its end, as they would if this process were killed.
        os.close(held)
        os.close(lifeline)
        for process in processes:
            os.waitpid(process, 0)


def _be_child(
    tree: str, sockets: Sequence[socket.socket], lifeline: int
) -> NoReturn:
    status = 1
    try:
        asyncio.run(_until_told(tree, sockets, lifeline))
        status = 0
    finally:
        # Nothing of what the parent has yet to do is done here.
        os._exit(status)


async def _until_told(
    tree: str, sockets: Sequence[socket.socket], lifeline: int | None
) -> None:
    """Serve until a signal, or until the pipe of the parent ends."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    if lifeline is not None:
        loop.add_reader(lifeline, stop.set)
    handler = TreeHandler(ImageServeTree(tree))
    async with listener.serving(handler, sockets):
        await stop.wait()


@contextlib.contextmanager
def bound(
    tree: str | os.PathLike[str], listen: str, idle: float = listener.IDLE
) -> Iterator[tuple[Sequence[socket.socket], str]]:
    """The sockets that listen for a tree, and the URL."""
    address = Address.parse(listen)
    if not os.path.isdir(tree):
        absence = (
            "not a directory" if os.path.exists(tree) else "no such directory"
        )
        raise errors.NotFound(f"{tree}: {absence}")
    sockets = listener.bind(address, idle)
    try:
        port = sockets[0].getsockname()[1]
        yield sockets, f"http://{Address(address.host, port)}"
    finally:
        for listening in sockets:
            listening.close()
