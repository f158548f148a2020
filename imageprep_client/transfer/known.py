"""Content that a run has read already, so that it is not fetched again."""

from __future__ import annotations

import threading

from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify

# Manifests and configs of real images take some kilobytes each.
_MAX_BYTES = 64 * 1024 * 1024


class KnownContent:
    """Verified manifests and configs by digest, within a bound on their sum.

    Content over the bound is forgotten, and fetched again. Safe for use by
    several threads.
    """

    def __init__(self, limit: int = _MAX_BYTES) -> None:
        self._left = limit
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def add(self, digest: str, content: bytes) -> None:
        """Keep content, which has this digest."""
        with self._lock:
            if len(content) <= self._left and digest not in self._contents:
                self._left -= len(content)
                self._contents[digest] = content

    def get(self, descriptor: Descriptor) -> bytes | None:
        """The content that the descriptor describes, if it is known."""
        content = self._contents.get(descriptor.digest)
        if content is None or len(content) != descriptor.size:
            return None
        return content

    def open(self, descriptor: Descriptor) -> base.Content | None:
        """The same as a stream."""
        content = self.get(descriptor)
        if content is None:
            return None
        return verify.from_bytes(content, descriptor)
