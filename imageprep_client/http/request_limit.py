"""The number of requests that a server gets at once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

#: Seconds between two looks at whether the run ends.
_PERIOD = 0.2


class RequestLimit:
    """Bounds the requests that are under way to one server.

    An answer that limits the rate (429) halves the bound, and as many answers
    as the bound is large raise it by one. Safe for use by several threads.

    :param most: the bound at first; it is never larger.
    :param stop: nobody waits once it is set.
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
        self._changed = threading.Condition()
        self._limited_at = float("-inf")

    @property
    def size(self) -> int:
        """The number of requests that may be under way now."""
        return int(self._size)

    @contextlib.contextmanager
    def slot(self) -> Iterator[None]:
        """Wait until another request may be sent, and count it."""
        with self._changed:
            while self._busy >= self.size and not self._stop.is_set():
                # Whoever sets the event does not notify this condition.
                self._changed.wait(_PERIOD)
            self._busy += 1
        try:
            yield
        finally:
            with self._changed:
                self._busy -= 1
                grown = self._size + 1 / self._size
                self._size = min(float(self._most), grown)
                self._changed.notify(max(1, self.size - self._busy))

    def limited(self, begin: float) -> None:
        """Halve the bound after a request that was sent at `begin`.

        Of requests that were under way together, one halves it.
        """
        with self._changed:
            if begin > self._limited_at:
                self._limited_at = self._clock()
                self._size = max(1.0, self._size / 2)
