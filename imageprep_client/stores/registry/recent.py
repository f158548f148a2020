"""Manifests that passed by lately."""

from __future__ import annotations

import collections
import threading


class Recent:
    """Manifests that passed by lately, so that a tag needs no other GET."""

    _COUNT = 16
    _MAX = 256 * 1024

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: collections.OrderedDict[str, bytes] = (
            collections.OrderedDict()
        )

    def add(self, digest: str, data: bytes) -> None:
        """Keep it, if it is not large, for a while."""
        if len(data) > self._MAX:
            return
        with self._lock:
            self._known[digest] = data
            self._known.move_to_end(digest)
            if len(self._known) > self._COUNT:
                self._known.popitem(last=False)

    def get(self, digest: str) -> bytes | None:
        """The manifest, or None when it is not known (any longer)."""
        with self._lock:
            return self._known.get(digest)

    def drop(self, digest: str) -> None:
        """Forget it, if it is known."""
        with self._lock:
            self._known.pop(digest, None)
