"""Passes connections on to a server, and can hold one of them back."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

_CHUNK = 1 << 16


class Relay:
    """Listens until it is closed.

    A client that sends more than so many bytes on a connection is held there,
    until `release`.

    :param target: ``127.0.0.1:port`` of the server.
    :ivar host: where it listens itself.
    :ivar held: set when a connection is held back.
    """

    def __init__(self, target: str, limit: int) -> None:
        host, _, port = target.partition(":")
        self._target = host, int(port)
        self._limit = limit
        self._released = threading.Event()
        self.held = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        # What is held back stays with the client: buffers of megabytes would
        # take the end of a message.
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _CHUNK)
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def release(self) -> None:
        """Hold nothing back any more."""
        self._released.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()
        # It ends the wait for a connection, which a close does not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                for words in ((client, server, True), (server, client, False)):
                    threading.Thread(
                        target=self._pass_on, args=words, daemon=True
                    ).start()

    def _pass_on(
        self, source: socket.socket, target: socket.socket, is_held: bool
    ) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                target.sendall(data)
                passed += len(data)
                if is_held and passed > self._limit:
                    self.held.set()
                    self._released.wait()
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_WR)
