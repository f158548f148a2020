"""Items whose first requests are under way."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from imageprep_client import errors
from imageprep_client.stores import base

T = TypeVar("T")


class Window(Generic[T]):
    """Items, the next of which are requested already.

    :param size: how many are, at most.
    :ivar items: those that are not requested.
    :ivar aside: those whose content has to be requested in another way, or
        again; after the first failure, all items that follow as well.
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
        self._fill()
        while self._requested:
            item, prefetched = self._requested.popleft()
            try:
                prefetched.wait()
            except errors.ImagePrepError as error:
                prefetched.close()
                self.aside.append(item)
                self._end()
                if isinstance(error, errors.Unreachable):
                    self.close()
            else:
                return item, prefetched
        return None

    def _fill(self) -> None:
        """Request items until there are `size`, or one cannot be."""
        while self.items and len(self._requested) < self._size:
            item = self.items.popleft()
            prefetched = None
            try:
                prefetched = self._request(item)
            except errors.ImagePrepError:
                self._end()
            if prefetched is None:
                self.aside.append(item)
            else:
                self._requested.append((item, prefetched))

    def _end(self) -> None:
        """Request nothing more."""
        self._size = 0

    def close(self) -> None:
        """Put aside whatever is left."""
        for item, prefetched in self._requested:
            prefetched.close()
            self.aside.append(item)
        self._requested.clear()
        self.aside += self.items
        self.items.clear()
