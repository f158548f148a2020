"""Who has what: each digest travels once per destination."""

from __future__ import annotations

import threading


class Ledger:
    """Blobs known to be in place, by destination registry and digest.

    Shared by all copies of a run, so that a blob which one copy brought is
    mounted by the next. Safe for use by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._homes: dict[tuple[str, str], str] = {}

    def record(self, registry: str, digest: str, repository: str) -> None:
        """The blob is in this repository of the registry now."""
        with self._lock:
            self._homes.setdefault((registry, digest), repository)

    def home(self, registry: str, digest: str) -> str | None:
        """A repository of the registry that has the blob, if known."""
        with self._lock:
            return self._homes.get((registry, digest))
