"""A cache of the signatures of accepted images.

Cached signatures are verified like those that come from a registry. The cache
is therefore not trusted; it only saves requests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host.cache import ContentCache
from imageprep_client.trust import signatures
from imageprep_client.trust.signatures import Signature


class KeptSignatures:
    """A directory of signatures; the oldest are removed when it is full."""

    def __init__(self, directory: Path) -> None:
        self._cache = ContentCache(directory)

    def get(self, repository: str, digest: str) -> Sequence[Signature]:
        """The cached signatures of a manifest; empty if none can be used."""
        content = self._cache.get(_name(repository, digest))
        if content is None:
            return []
        try:
            return signatures.load(content)
        except errors.InvalidContent:
            return []

    def put(
        self, repository: str, digest: str, own: Sequence[Signature]
    ) -> None:
        """Cache signatures, if this user may write there."""
        self._cache.add(_name(repository, digest), signatures.dump(own))

    def close(self) -> None:
        """Write what is new; the oldest over the limit are removed."""
        self._cache.save()


def _name(repository: str, digest: str) -> str:
    return hashlib.sha256(f"{repository}@{digest}".encode()).hexdigest()
