"""The store interface: one repository's content, with tags on top.

A store is addressed by `Descriptor`. Each optional power of a store is a
protocol with one method, and is looked for with ``isinstance`` once per copy.
Several threads may use a store at once.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Sequence
from typing import Protocol, Self, runtime_checkable

from imageprep_client.oci.descriptor import Descriptor

#: How much is read and written at a time; large enough that hashing and
#: copying, which release the GIL, dwarf the Python around them.
CHUNK = 256 * 1024
#: Content up to this size is sent in one request, which can be repeated, as
#: quickly as it is looked for. Larger content is streamed.
SMALL = 128 * 1024


class Content(Protocol):
    """A stream of bytes that must be closed; ``with`` does it."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to `size` bytes, all that is left by default, b"" at the end."""
        ...

    def close(self) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: types.TracebackType | None,
        /,
    ) -> None: ...


class Closing:
    """An object for ``with``, such as content; subclasses close."""

    def close(self) -> None:
        """Release what the object holds."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


class ReadableStore(Protocol):
    """One repository that can be read.

    :ivar registry: identity of the place that the repository is part of;
        stores with an equal `registry` can share blobs.
    :ivar repository: the name of the repository in it.
    """

    @property
    def registry(self) -> str: ...

    @property
    def repository(self) -> str: ...

    def resolve(self, reference: str) -> Descriptor:
        """The manifest behind a tag or a digest.

        :raises NotFound: when there is none.
        :raises InvalidReference: when it is neither a tag nor a digest.
        """
        ...

    def exists(self, descriptor: Descriptor) -> bool:
        """Whether this blob or manifest is in this repository, whole."""
        ...

    def fetch(self, descriptor: Descriptor) -> Content:
        """The content, verified: the reader raises at its end when digest or
        size are wrong, and never gives more bytes than the size says.

        :raises NotFound: when it is not in this repository.
        """
        ...


class Store(ReadableStore, Protocol):
    """One repository that can be written, too."""

    def push(self, expected: Descriptor, content: Content) -> None:
        """Store the content, whole or not at all.

        Digest and size are verified on the way; content that is there
        already is left as it is. `content` is read to its end, not closed.

        :raises DigestMismatch, SizeMismatch: nothing is stored.
        """
        ...

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """Point a tag to a manifest, which must be in the repository.

        :raises NotFound: when it is not.
        """
        ...


@runtime_checkable
class ReadsAhead(Protocol):
    """Can resolve and read a manifest in one step."""

    def resolve_ahead(self, reference: str) -> Descriptor:
        """As `resolve`; a `fetch` of the manifest that follows costs nothing.

        For callers that need the manifest in any case.
        """
        ...


def resolve_ahead(store: ReadableStore, reference: str) -> Descriptor:
    """Resolve a reference; where possible, the manifest is fetched, too."""
    if isinstance(store, ReadsAhead):
        return store.resolve_ahead(reference)
    return store.resolve(reference)


class Prefetched(Protocol):
    """A request that was sent, and whose response is needed later."""

    def wait(self) -> None:
        """Wait for the response, which the next read uses until `close`.

        :raises StoreError: when there is none that is of use.
        """
        ...

    def close(self) -> None:
        """Give the response up, unless it was used."""
        ...


@runtime_checkable
class Prefetches(Protocol):
    """Can request small content before it is needed."""

    def prefetch(self, wanted: str | Descriptor) -> Prefetched | None:
        """Request a manifest by its tag, or any content by its descriptor.

        :returns: None where nothing was requested.
        :raises StoreError: when it cannot be requested.
        """
        ...

    def prefetch_referrers(self, subject: Descriptor) -> Prefetched | None:
        """As `prefetch`, for `ListsReferrers.referrers`."""
        ...


@runtime_checkable
class Mounts(Protocol):
    """Can take a blob over from its own registry without moving bytes."""

    def mount(self, descriptor: Descriptor, repository: str | None) -> bool:
        """Take the blob from `repository`, or from anywhere when None.

        A mount of a blob that is here already, or from this repository,
        does nothing and succeeds.

        :returns: whether the blob is in this repository now.
        :raises NotFound: `repository` lacks it, or an image with it.
        """
        ...


@runtime_checkable
class BeginsPushes(Protocol):
    """Can look for a blob and begin to push it in one step."""

    def begin(self, descriptor: Descriptor) -> bool:
        """Whether the blob is here; if not, its push has begun.

        For callers that push a missing blob: the `push` that follows takes
        one step less.
        """
        ...


@runtime_checkable
class PushesTagged(Protocol):
    """Can store a manifest and tag it in one step."""

    def push_tagged(
        self, expected: Descriptor, content: Content, tag: str
    ) -> None:
        """As `push` and then `tag`.

        :raises DigestMismatch, SizeMismatch: nothing is stored.
        """
        ...


@runtime_checkable
class Locates(Protocol):
    """Knows, without a request, which repositories have a blob."""

    def locate(self, descriptor: Descriptor) -> str | None:
        """A repository of the same registry that has the blob, or None."""
        ...


@runtime_checkable
class ListsTags(Protocol):
    """Knows its tags."""

    def tags(self) -> Iterator[str]:
        """All tags, in the order of the registry."""
        ...


@runtime_checkable
class ListsReferrers(Protocol):
    """Knows which manifests have another as their ``subject``."""

    def referrers(self, subject: Descriptor) -> Sequence[Descriptor]:
        """Their descriptors; empty when there are none."""
        ...


@runtime_checkable
class Deletes(Protocol):
    """Can remove content."""

    def delete(self, descriptor: Descriptor) -> None:
        """Remove a manifest, its tags with it, or a blob."""
        ...


@runtime_checkable
class Untags(Protocol):
    """Can remove a tag and leave the manifest that it names."""

    def untag(self, tag: str) -> None:
        """Remove the tag.

        :raises CannotUntag: where this place does not remove a tag alone;
            nothing was done.
        :raises NotFound: when there is no such tag.
        """
        ...


@runtime_checkable
class TellsDigests(Protocol):
    """Says what a tag names also where that cannot be understood."""

    def digest_of(self, tag: str) -> str:
        """The digest behind a tag; empty when it is not told.

        :raises NotFound: when there is no such tag.
        """
        ...


@runtime_checkable
class ListsManifests(Protocol):
    """Knows all its manifests, also those that no tag leads to."""

    def manifests(self) -> Iterator[Descriptor]:
        """Manifests and indexes, in any order."""
        ...


@runtime_checkable
class ListsRepositories(Protocol):
    """A registry, or a tree, that knows its repositories."""

    def repositories(self) -> Sequence[str]:
        """Their names, sorted.

        :raises NotFound: when it keeps no catalog.
        :raises AccessDenied: when it shows it to others only.
        """
        ...


@runtime_checkable
class ChecksGraph(Protocol):
    """Can tell cheaply whether all that a manifest names is in place.

    Registries promise it by accepting the manifest; a tree or a layout looks.
    """

    def holds(self, descriptor: Descriptor) -> bool:
        """Whether the manifest and everything below it is here, whole."""
        ...


@runtime_checkable
class Flushes(Protocol):
    """Keeps content on a disk of this host."""

    def flush(self) -> None:
        """Return when all that was pushed before is on stable storage.

        It covers every repository of the same registry.
        """
        ...


@runtime_checkable
class KeepsPartial(Protocol):
    """Keeps the beginning of a blob whose push broke off."""

    def partial(self, descriptor: Descriptor) -> tuple[Content, int] | None:
        """The beginning and its length in bytes, or None.

        It is not verified, and is returned once: the caller pushes the blob
        again, beginning with these bytes.
        """
        ...


@runtime_checkable
class FetchesFrom(Protocol):
    """Can give the rest of a blob."""

    def fetch_from(self, descriptor: Descriptor, offset: int) -> Content:
        """The bytes from `offset` on, not verified.

        :raises NotFound: when the blob is not in this repository.
        """
        ...


@runtime_checkable
class LeavesOut(Protocol):
    """Lacks blobs that the place where its images go has already."""

    def left_out(self, descriptor: Descriptor) -> Sequence[str]:
        """The repositories there that have a blob which is left out here.

        They are named as repositories are here; empty for other blobs.
        """
        ...


@runtime_checkable
class KeepsSignatures(Protocol):
    """Has signatures apart from the content of its images."""

    def signatures(self, digest: str) -> Sequence[bytes]:
        """Those of a manifest, in their order; empty when there are none."""
        ...


def kept_signatures(store: ReadableStore, digest: str) -> Sequence[bytes]:
    """The signatures of a manifest in a store that may keep none."""
    return (
        store.signatures(digest) if isinstance(store, KeepsSignatures) else ()
    )


@runtime_checkable
class MeasuresSpace(Protocol):
    """Keeps content on a disk of this host and knows its room."""

    def free_space(self) -> int:
        """Bytes that can still be written."""
        ...
