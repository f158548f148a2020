"""The timeouts for responses of one server."""

from __future__ import annotations

import threading
import time

#: The minimum timeout in seconds, and the timeout as a multiple of the average
#: time of a response.
_LEAST, _TIMES = 4.0, 20.0
#: The average before the first response, and the weight of each response.
_FIRST, _WEIGHT = 0.5, 1 / 8
#: Bytes a second at which any server stores a request body.
_STORING = 1024 * 1024


class AdaptiveTimeout:
    """Timeouts that adapt to the response times of a server.

    A missing response is detected soon where other responses are prompt. Each
    timeout doubles the next one of the same request, so that slow requests
    succeed as well. Safe for use by several threads.

    :param longest: the maximum timeout in seconds.
    """

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self._average = _FIRST
        self._timeouts: dict[str, tuple[int, float]] = {}
        self._lock = threading.Lock()

    def of(self, request: str, size: int = 0, factor: float = 1.0) -> float:
        """Seconds to wait for each part of a response.

        :param request: the name of the request, the same for each attempt.
        :param size: bytes of its body.
        :param factor: by which the maximum is multiplied.
        """
        seconds = max(_LEAST, _TIMES * self._average) + size / _STORING
        count, _ = self._timeouts.get(request, (0, 0.0))
        doubled = seconds * 2.0 ** min(count, 8)
        return min(self._longest * factor, doubled)

    def answered(self, seconds: float) -> None:
        """Record the time that a response took."""
        with self._lock:
            self._average += (seconds - self._average) * _WEIGHT

    def exceeded(self, request: str, begin: float) -> int:
        """Record that a request had no response in time.

        :param begin: when it was sent, by `time.monotonic`.
        :returns: how often in all, where those of a name that were under way
            at the same time count once.
        """
        with self._lock:
            count, last = self._timeouts.get(request, (0, begin))
            if begin >= last:
                count += 1
                self._timeouts[request] = count, time.monotonic()
            return count
