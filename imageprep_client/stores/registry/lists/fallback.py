"""Referrers of registries that have no API for them: an index under a tag.

OCI distribution spec, "Referrers Tag Schema".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from imageprep_client import errors
from imageprep_client.oci import referrers
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify


class _Store(base.ReadableStore, base.ReadsAhead, Protocol):
    """A repository whose manifests come with the answer about their tag."""


class FallbackReferrers:
    """The lists of one repository.

    :param write: puts an index under a tag.
    """

    def __init__(
        self, store: _Store, write: Callable[[bytes, str], object]
    ) -> None:
        self._store = store
        self._write = write
        self._lock = threading.Lock()
        # Of those that were listed last; None before, and after a change.
        self._tags: frozenset[str] | None = None

    def note(self, tags: Iterable[str]) -> None:
        """Know from all tags of the repository which lists there are."""
        self._tags = frozenset(
            tag for tag in tags if referrers.subject_tag(tag) == tag
        )

    def of(self, subject: Descriptor) -> list[Descriptor]:
        """What refers to the subject; nothing where there is no list."""
        tag = referrers.tag_of(subject.digest)
        if self._tags is not None and tag not in self._tags:
            return []
        try:
            found = self._store.resolve_ahead(tag)
        except errors.NotFound:
            return []
        return list(verify.manifest(self._store, found).manifests)

    def add(self, subject: Descriptor, referrer: Descriptor) -> None:
        """Have one more in the list, which is made if need be."""
        with self._lock:
            self._tags = None
            known = self.of(subject)
            if referrer not in known:
                self._write(
                    referrers.index([*known, referrer]),
                    referrers.tag_of(subject.digest),
                )
