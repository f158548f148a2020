"""The timeouts for responses of one server."""

from __future__ import annotations

import collections
import threading

#: A server is waited for at least so many seconds, and so many times as long
#: as its answers take on average.
_LEAST, _TIMES = 4.0, 20.0
#: The average before there is an answer, and the weight of each answer.
_FIRST, _WEIGHT = 0.5, 1 / 8
#: Bytes a second at which a server at least stores what it is sent.
_STORING = 1024 * 1024


class AdaptiveTimeout:
    """Timeouts that follow the times which a server's answers take.

    A request without an answer is noticed soon where other answers are
    prompt. Each timeout doubles the time that the same request gets next, so
    that slow work comes to its end as well. Safe for use by several threads.

    :param longest: seconds; more are never waited.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._average = _FIRST
        self._timeouts: collections.Counter[str] = collections.Counter()
        self._lock = threading.Lock()

    def of(self, request: str, size: int = 0) -> float:
        """Seconds to wait for each part of an answer.

        :param request: names the request, also when it is sent again.
        :param size: bytes of its body.
        """
        seconds = max(_LEAST, _TIMES * self._average) + size / _STORING
        doubled = seconds * 2.0 ** min(self._timeouts[request], 8)
        return min(self._longest, doubled)

    def answered(self, seconds: float) -> None:
        """Note the time that an answer took."""
        with self._lock:
            self._average += (seconds - self._average) * _WEIGHT

    def exceeded(self, request: str) -> None:
        """Note that a request had no answer in time."""
        with self._lock:
            self._timeouts[request] += 1
