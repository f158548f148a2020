"""How many requests a registry is asked at once: as many as serve."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

#: How many requests are under way at first, and the least there may be.
_FIRST, _LEAST = 32, 4
#: Seconds from which on an answer tells of a long way.
_FAR = 0.03
#: How many requests may wait in the registry's queue before fewer are sent,
#: and below how many more are.
_MANY, _FEW = 16, 8
#: A round has at least so many answers.
_ROUND = 8
#: The best time is not for ever: a route or a registry may get slower.
_AGEING = 1.001


class Window:
    """Lets so many threads ask one registry at once as it answers promptly.

    How long answers take, against the best time so far, tells how many of
    the requests under way wait for others (as TCP Vegas has it). A registry
    that is far away gets many, one whose processor or disk is busy gets no
    more than it can work on, and one that answers 429 gets half.

    :param most: more are never sent.
    :param stop: when it is set, nobody waits any longer.
    :param first: seconds that a first answer took, if there was one. Who is
        far away is asked by all at once from the beginning.
    :ivar size: how many may be under way now.
    """

    def __init__(
        self,
        most: int,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
        *,
        first: float = 0.0,
    ) -> None:
        self._most = most
        self._stop = stop
        self._clock = clock
        self._size = float(most if first >= _FAR else min(_FIRST, most))
        self._busy = 0
        self._changed = threading.Condition()
        self._best: dict[str, float] = {}
        # Of this round: parts of the answers' times that were waits.
        self._waits: list[float] = []
        self._most_busy = 0
        self._is_new = True
        self._limited_at = float("-inf")

    @property
    def size(self) -> int:
        return max(1, int(self._size))

    @contextlib.contextmanager
    def place(self, kind: str) -> Iterator[None]:
        """Wait for a place among the requests under way, and keep it.

        :param kind: of request; those of one kind take alike long.
        """
        with self._changed:
            while self._busy >= self.size and not self._stop.is_set():
                # Who ends the run does not know who waits here.
                self._changed.wait(0.2)
            self._busy += 1
            busy = self._busy
        begin = self._clock()
        try:
            yield
            self._learn(kind, self._clock() - begin, busy)
        finally:
            with self._changed:
                self._busy -= 1
                # It may have become larger, too.
                self._changed.notify(max(1, self.size - self._busy))

    def limited(self, begin: float) -> None:
        """The registry wants less of what was sent at `begin` or later.

        Those that were under way together count once.
        """
        with self._changed:
            if begin > self._limited_at:
                self._limited_at = self._clock()
                self._is_new = False
                self._size = max(1.0, self._size / 2)

    def _learn(self, kind: str, seconds: float, busy: int) -> None:
        with self._changed:
            best = min(seconds, self._best.get(kind, seconds) * _AGEING)
            self._best[kind] = best
            self._waits.append(1 - best / seconds if seconds > 0 else 0.0)
            self._most_busy = max(self._most_busy, busy)
            if len(self._waits) >= max(_ROUND, self._size):
                self._end_round()

    def _end_round(self) -> None:
        """As many answers came as the window is large: see how it went."""
        # Some took long for reasons of their own: a new connection, or a
        # processor that is busy here. The prompt ones tell of the queue.
        prompt = sorted(self._waits)[len(self._waits) // 4]
        queued = self._size * prompt
        if queued >= _FEW:
            self._is_new = False
        if queued > _MANY:
            self._size = max(min(_LEAST, self._size), self._size - 1)
        elif queued < _FEW and 2 * self._most_busy > self._size:
            grown = self._size * 2 if self._is_new else self._size + 1
            self._size = min(float(self._most), grown)
        self._waits.clear()
        self._most_busy = 0
