"""Referrers in registries without the referrers API: an index under a tag.

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
    """A repository that resolves and reads manifests in one step."""


class FallbackReferrers:
    """The lists of referrers in one repository.

    :param write: stores an index under a tag.
    """

    def __init__(
        self, store: _Store, write: Callable[[bytes, str], object]
    ) -> None:
        self._store = store
        self._write = write
        self._lock = threading.Lock()
        # The tags of the last listing; None before, and after a change.
        self._tags: frozenset[str] | None = None

    def note(self, tags: Iterable[str]) -> None:
        """Note the lists that exist, given all tags of the repository."""
        self._tags = frozenset(
            tag for tag in tags if referrers.subject_tag(tag) == tag
        )

    def may_exist(self, subject: Descriptor) -> bool:
        """Whether there may be a list for a subject."""
        tag = referrers.tag_of(subject.digest)
        return self._tags is None or tag in self._tags

    def of(self, subject: Descriptor) -> list[Descriptor]:
        """The referrers of a subject; empty without a list."""
        if not self.may_exist(subject):
            return []
        tag = referrers.tag_of(subject.digest)
        try:
            index = self._store.resolve_ahead(tag)
        except errors.NotFound:
            return []
        if index.digest == subject.digest:
            # GitLab takes the tag for the digest, and gives the image itself.
            return []
        return list(verify.manifest(self._store, index).manifests)

    def add(self, subject: Descriptor, referrer: Descriptor) -> None:
        """Add a referrer to the list, which is created if necessary."""
        with self._lock:
            self._tags = None
            known = self.of(subject)
            if referrer not in known:
                self._write(
                    referrers.index([*known, referrer]),
                    referrers.tag_of(subject.digest),
                )
