"""Limits on the time that responses take."""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections.abc import Callable
from typing import Any

#: Bytes a second; slower bodies are abandoned.
LEAST_SPEED = 8 * 1024


class TooSlow(TimeoutError):
    """A body arrives more slowly than `LEAST_SPEED`."""


class Pace:
    """Checks that a body arrives at least at `LEAST_SPEED`.

    Only the time spent waiting for the server counts, so that slow consumers
    are permitted. In each `patience` seconds of waiting, `patience` times the
    least speed must arrive.

    :param patience: seconds.
    """

    def __init__(
        self, patience: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._patience = patience
        self._quota = patience * LEAST_SPEED
        self._clock = clock
        self._waited = 0.0
        self._received = 0

    def read(self, receive: Callable[[int], bytes], size: int) -> bytes:
        """Call `receive`, and check the speed.

        :raises TooSlow: if the body arrives too slowly.
        """
        begin = self._clock()
        data = receive(size)
        self._waited += self._clock() - begin
        self._received += len(data)
        if self._received >= self._quota:
            self._waited, self._received = 0.0, 0
        elif self._waited > self._patience and data:
            raise TooSlow(f"under {LEAST_SPEED // 1024} KiB a second")
        return data


class TimedReader(io.RawIOBase):
    """Reads a socket until a deadline.

    The timeout of a socket bounds single reads only, so that a server could
    send a line byte by byte for ever.
    """

    def __init__(self, source: socket.socket) -> None:
        super().__init__()
        self._source = source
        # Keeps the socket open until this reader is closed.
        self._raw = source.makefile("rb", buffering=0)
        self._patience = source.gettimeout()
        self._deadline = 0.0
        self.renew()

    def renew(self) -> None:
        """Restart the timeout."""
        self._deadline = time.monotonic() + (self._patience or 0.0)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override] # typeshed names no type for what is written to
        if self._patience is not None:
            left = self._deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("timed out")
            self._source.settimeout(left)
        try:
            return self._raw.readinto(buffer) or 0
        finally:
            # A later request on this connection gets the full timeout.
            self._source.settimeout(self._patience)

    def close(self) -> None:
        self._raw.close()
        super().close()


class TimedResponse(http.client.HTTPResponse):
    """A response whose head arrives within the timeout of its connection.

    The framing of each part of its body does, too.
    """

    def __init__(
        self, sock: socket.socket, *args: Any, **options: Any
    ) -> None:
        super().__init__(sock, *args, **options)
        self.fp.close()
        self._timed = TimedReader(sock)
        self.fp = io.BufferedReader(self._timed)

    def read1(self, n: int = -1) -> bytes:
        self._timed.renew()
        return super().read1(n)
