"""Items whose first requests are under way."""

from __future__ import annotations

import collections
import contextlib
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from imageprep_client import errors
from imageprep_client.stores import base

T = TypeVar("T")


class Window(Generic[T]):
    """Items, the next of which are requested already.

    :param size: how many are, at most.
    :ivar items: those that are not requested.
    :ivar aside: those that cannot be requested ahead. After a failure these
        are all: whoever repeats the request hears the reason.
    """

    def __init__(
        self,
        items: Iterable[T],
        request: Callable[[T], base.Prefetched | None],
        size: int,
    ) -> None:
        self.items = collections.deque(items)
        self.aside: list[T] = []
        self._request = request
        self._size = size
        self._requested: collections.deque[tuple[T, base.Prefetched]] = (
            collections.deque()
        )

    def take(self) -> tuple[T, base.Prefetched] | None:
        """The next item, whose response is there; None at the end."""
        with contextlib.suppress(errors.ImagePrepError):
            self._fill()
            if self._requested:
                self._requested[0][1].wait()
                return self._requested.popleft()
        return None

    def _fill(self) -> None:
        while self.items and len(self._requested) < self._size:
            item = self.items[0]
            prefetched = self._request(item)
            self.items.popleft()
            if prefetched is None:
                self.aside.append(item)
            else:
                self._requested.append((item, prefetched))

    def close(self) -> None:
        """Put aside whatever is left."""
        for item, prefetched in self._requested:
            prefetched.close()
            self.aside.append(item)
        self._requested.clear()
        self.aside += self.items
        self.items.clear()
