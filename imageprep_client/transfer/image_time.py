"""The time that work on an image takes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Self

from imageprep_client import deadlines, errors


class ImageTime:
    """Counts and bounds the time in which work on an image is under way.

    Waiting for a thread does not count, and concurrent work counts once. Safe
    for use by several threads.

    :param limit: seconds; None: no limit.
    """

    def __init__(self, limit: float | None) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._active = 0
        self._since = self._used = 0.0
        self._last: errors.ImagePrepError | None = None

    @classmethod
    @contextlib.contextmanager
    def shared(cls, times: Sequence[Self]) -> Iterator[None]:
        """Count the block for several images.

        The image with the most time left bounds it.

        :raises OutOfTime: if none has time left.
        """
        limit = times[0]._limit if times else None
        if limit is None:
            yield
            return
        for one in times:
            one._begin()
        last = next((one._last for one in times if one._last), None)
        left = max(one._left() for one in times)
        deadline = deadlines.Deadline(left, limit, last)
        try:
            with deadlines.limited(deadline):
                yield
        finally:
            for one in times:
                one._end(deadline.last)

    def _begin(self) -> None:
        with self._lock:
            if not self._active:
                self._since = time.monotonic()
            self._active += 1

    def _end(self, last: errors.ImagePrepError | None) -> None:
        with self._lock:
            self._active -= 1
            self._last = last or self._last
            if not self._active:
                self._used += time.monotonic() - self._since

    def _left(self) -> float:
        with self._lock:
            used = self._used + time.monotonic() - self._since
        return (self._limit or 0.0) - used
