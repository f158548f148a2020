"""Signatures of images that were accepted before, kept on this host.

They are verified each time as if they came from the registry, so that
keeping them trusts nothing; it only saves the requests.
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
    """A directory of signatures; the oldest make room for new ones."""

    def __init__(self, directory: Path) -> None:
        self._cache = ContentCache(directory)

    def get(self, repository: str, digest: str) -> Sequence[Signature]:
        """Those of a manifest; none where there are none that can be used."""
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
        """Keep them, where this user may."""
        self._cache.add(_name(repository, digest), signatures.dump(own))

    def close(self) -> None:
        """Remove what is too much."""
        self._cache.trim()


def _name(repository: str, digest: str) -> str:
    return hashlib.sha256(f"{repository}@{digest}".encode()).hexdigest()
