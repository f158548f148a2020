"""A cache of the content that a run has read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable
from typing import Any, Protocol, TypeVar

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify

# Manifests and configs of real images take some kilobytes each.
_MAX_BYTES = 64 * 1024 * 1024
# Larger content is layers, which no cache has.
_MAX_CACHED = 1024 * 1024


T = TypeVar("T")


class KeepsContent(Protocol):
    """Keeps small content between runs; it may be lost or damaged."""

    def get(self, digest: str) -> bytes | None:
        """The bytes kept under a digest, which may be any bytes."""
        ...

    def add(self, digest: str, content: bytes) -> None:
        """Keep content, if possible."""
        ...


class KeepsChecks(Protocol):
    """Records images of registries that were recently complete."""

    def is_fresh(self, image: str, digest: str) -> bool:
        """Whether that holds for this image.

        :param image: its whole name at the destination.
        """
        ...

    def note(self, image: str, digest: str) -> None:
        """Note that an image is complete."""
        ...


class KnownContent:
    """Verified manifests and configs by digest, within a bound on their sum.

    Content over the bound is not kept, and is fetched again. Safe for use by
    several threads.

    :param cache: content of earlier runs; its digest is verified.
    """

    def __init__(
        self, limit: int = _MAX_BYTES, cache: KeepsContent | None = None
    ) -> None:
        self._left = limit
        self._cache = cache
        self._contents: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def add(self, digest: str, content: bytes) -> None:
        """Keep content that has this digest."""
        if self._keep(digest, content) and self._cache:
            self._cache.add(digest, content)

    def get(self, descriptor: Descriptor) -> bytes | None:
        """The content that the descriptor describes, if it is known."""
        content = self._contents.get(descriptor.digest)
        if content is None:
            content = self._cached(descriptor)
        if content is None or len(content) != descriptor.size:
            return None
        return content

    def _keep(self, digest: str, content: bytes) -> bool:
        """Keep content in memory; whether it is new."""
        with self._lock:
            is_new = digest not in self._contents
            if is_new and len(content) <= self._left:
                self._left -= len(content)
                self._contents[digest] = content
        return is_new

    def _cached(self, descriptor: Descriptor) -> bytes | None:
        """The content of the cache, if it matches the descriptor."""
        if self._cache is None or descriptor.size > _MAX_CACHED:
            return None
        content = self._cache.get(descriptor.digest)
        algorithm = descriptor.digest.partition(":")[0]
        if content is None or (
            digests.of(content, algorithm) != descriptor.digest
        ):
            return None
        self._keep(descriptor.digest, content)
        return content

    def open(self, descriptor: Descriptor) -> base.Content | None:
        """The known content as a stream, or None."""
        content = self.get(descriptor)
        if content is None:
            return None
        return verify.from_bytes(content, descriptor)


class Answers:
    """Results of requests to sources, shared by several destinations.

    Each request is made once, even if its result is an error; it is made again
    where the time of an image was over. Safe for use by several threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._locks: dict[Hashable, threading.Lock] = {}
        self._answers: dict[Hashable, Any] = {}

    def get(self, question: Hashable, ask: Callable[[], T]) -> T:
        """The result of `ask`, which is called once for each question.

        :raises ImagePrepError: if `ask` raised it.
        """
        with self._lock:
            lock = self._locks.setdefault(question, threading.Lock())
        with lock:
            if question not in self._answers:
                try:
                    self._answers[question] = ask()
                except errors.OutOfTime:
                    # Another image may have time left for it.
                    raise
                except errors.ImagePrepError as error:
                    self._answers[question] = error
            answer = self._answers[question]
        if isinstance(answer, errors.ImagePrepError):
            raise answer
        return answer  # type: ignore[no-any-return]  # the answer of ask
