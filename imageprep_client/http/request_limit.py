"""The number of requests that a server gets at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from imageprep_client import deadlines

#: Seconds between two checks for the end of the run.
_PERIOD = 0.2


class RequestLimit:
    """Limits the concurrent requests to one server.

    Each is made within ``with limit:``. A response of status 429, or 503,
    which proxies that limit requests have by default, halves the limit, and
    each full set of other responses raises it by one. Safe for use by several
    threads.

    :param most: the initial limit, which is also the highest.
    :param stop: when it is set, no thread waits any longer.
    """

    def __init__(
        self,
        most: int,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = most
        self._stop = stop
        self._clock = clock
        self._size = float(most)
        self._busy = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._limited_at = float("-inf")

    @property
    def size(self) -> int:
        """The number of concurrent requests that are allowed now."""
        return int(self._size)

    @property
    def is_reduced(self) -> bool:
        """Whether the server wants fewer requests at once."""
        return self.size < self._most

    def __enter__(self) -> None:
        """Wait until another request is allowed, and count it.

        :raises OutOfTime: if the deadline of the thread passes meanwhile.
        """
        with self._lock:
            while self._busy >= self.size and not self._stop.is_set():
                deadlines.check()
                # Whoever sets the event does not notify this condition.
                self._changed.wait(_PERIOD)
            self._busy += 1

    def __exit__(self, *exc_info: object) -> None:
        with self._lock:
            self._busy -= 1
            grown = self._size + 1 / self._size
            self._size = min(float(self._most), grown)
            self._changed.notify(max(1, self.size - self._busy))

    def limited(self, begin: float) -> None:
        """Halve the limit after a request that was sent at `begin`.

        Concurrent requests halve it once.
        """
        with self._lock:
            if begin > self._limited_at:
                self._limited_at = self._clock()
                self._size = max(1.0, self._size / 2)
