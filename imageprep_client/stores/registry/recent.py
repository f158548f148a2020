"""A cache of recent manifests."""

from __future__ import annotations

import collections
import threading


class Recent:
    """Recent manifests, so that a tag needs no further GET."""

    _COUNT = 16
    _MAX = 256 * 1024

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: collections.OrderedDict[str, bytes] = (
            collections.OrderedDict()
        )

    def add(self, digest: str, data: bytes) -> None:
        """Keep a manifest unless it is large."""
        if len(data) > self._MAX:
            return
        with self._lock:
            self._known[digest] = data
            self._known.move_to_end(digest)
            if len(self._known) > self._COUNT:
                self._known.popitem(last=False)

    def get(self, digest: str) -> bytes | None:
        """The manifest, or None if it is not kept."""
        with self._lock:
            return self._known.get(digest)

    def drop(self, digest: str) -> None:
        with self._lock:
            self._known.pop(digest, None)
