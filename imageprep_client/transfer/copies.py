"""Copies: the requests, and the state of each image and blob."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Self

from imageprep_client import errors
from imageprep_client.observer import BlobOutcome, ImageOutcome
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base
from imageprep_client.transfer import attached as attachments
from imageprep_client.transfer import graph as graphs
from imageprep_client.transfer.admission import Admits
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.image_time import ImageTime
from imageprep_client.transfer.powers import DestinationPowers, SourcePowers


@dataclasses.dataclass(frozen=True, slots=True)
class ResolvedTag:
    """A tag that was looked up at a destination.

    :ivar descriptor: what the tag names; None: there is no such tag.
    :ivar error: the reason why it is unknown, or None.
    """

    descriptor: Descriptor | None = None
    error: errors.StoreError | None = None

    @classmethod
    def of(cls, store: base.ReadableStore, tag: str) -> Self:
        """Look up a tag."""
        try:
            return cls(store.resolve(tag))
        except errors.NotFound:
            return cls()
        except errors.StoreError as error:
            return cls(error=error)

    def get(self) -> Descriptor | None:
        """The descriptor.

        :raises StoreError: when it is unknown.
        """
        if self.error is not None:
            raise self.error
        return self.descriptor


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Copy:
    """One image to copy.

    :ivar name: the image as the user calls it, for errors and progress.
    :ivar reference: the tag or digest in the source.
    :ivar tag: the tag at the destination; None: it is copied without one.
    :ivar platforms: the images that are copied of an index.
    :ivar referrers: what happens to artifacts that are attached to it.
    :ivar nondistributable: whether non-distributable layers with URLs are
        copied as well.
    :ivar descriptor: what `reference` resolved to, where that is known.
    :ivar admission: decides whether it may be copied; None: it may.
    :ivar current: what `tag` resolved to, where that is known.
    :ivar timeout: seconds of work on it, at most; None: any.
    :ivar made_from: where the image is that it was made from, if it was;
        layers that they share are mounted from there.
    """

    name: str
    source: base.ReadableStore
    reference: str
    destination: base.Store
    tag: str | None
    platforms: graphs.Platforms = graphs.ALL_PLATFORMS
    referrers: ReferrersPolicy = ReferrersPolicy.LEAVE
    nondistributable: bool = False
    descriptor: Descriptor | None = None
    admission: Admits | None = None
    current: ResolvedTag | None = None
    timeout: float | None = None
    made_from: base.ReadableStore | None = None


class ImageCopy:
    """One copy and its state.

    :ivar time: the working time, bounded.
    :ivar current: what the destination's tag names so far, or None.
    :ivar graph: the content of the image; None until it is known, and for an
        image that is present already.
    :ivar attached: the artifacts that are copied with it.
    :ivar root: what the destination's tag will name.
    :ivar outcome: PRESENT or COPIED once the destination has it, else None.
    :ivar accepted: why the image may be copied; None: anything may.
    :ivar sizes: bytes by outcome. A blob that several images share
        counts as copied for one of them.
    :ivar error: the first failure, or None.
    """

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.time = ImageTime(copy.timeout)
        self.source_powers = SourcePowers.of(copy.source)
        self.powers = DestinationPowers.of(copy.destination)
        self.started = time.monotonic()
        self.finished: float | None = None
        self.current: Descriptor | None = None
        self.graph: graphs.Graph | None = None
        self.attached: tuple[attachments.Attached, ...] = ()
        self.root: Descriptor | None = None
        self.outcome: ImageOutcome | None = None
        self.accepted: str | None = None
        self.sizes: collections.Counter[BlobOutcome] = collections.Counter()
        self.error: errors.CopyError | None = None
        self._lock = threading.Lock()

    @property
    def registry(self) -> str:
        """The identity of the destination's registry."""
        return self.copy.destination.registry

    @property
    def repository(self) -> str:
        return self.copy.destination.repository

    @property
    def graphs(self) -> list[graphs.Graph]:
        """All content to write: the image and its artifacts."""
        if self.graph is None or self.outcome is not None:
            return []
        return [self.graph, *(each.graph for each in self.attached)]

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """All blobs that have to be written, by digest."""
        return {b.digest: b for graph in self.graphs for b in graph.blobs}

    def needs(self, blob: Descriptor) -> bool:
        """Whether the blob is still to be written for this image."""
        return not self.error and any(
            blob.digest in graph.digests for graph in self.graphs
        )

    def lacks(
        self,
        blob: Descriptor,
        operation: str,
        origin: errors.Origin,
        cause: errors.ImagePrepError,
    ) -> Sequence[str] | None:
        """Note that the source cannot provide a blob.

        :returns: the digests of artifacts that now stay behind; None: the
            image itself failed.
        """
        optional = (
            origin == "source"
            and self.copy.referrers is ReferrersPolicy.COPY
            and not (self.graph and blob.digest in self.graph.digests)
        )
        if not optional:
            self.fail(operation, origin, cause)
            return None
        # Threads lack several blobs at the same time, also of one artifact.
        with self._lock:
            lost = [a for a in self.attached if blob.digest in a.graph.digests]
            self.attached = tuple(a for a in self.attached if a not in lost)
        return [artifact.digest for artifact in lost]

    @property
    def key(self) -> str:
        """The whole name at the destination."""
        name = self.copy.tag or self.copy.reference
        return f"{self.registry}/{self.repository}:{name}"

    def finish(self, outcome: ImageOutcome) -> None:
        """Note that the destination has the image."""
        self.outcome = outcome
        self.finished = time.monotonic()

    def fail(
        self,
        operation: str,
        origin: errors.Origin,
        cause: errors.ImagePrepError,
    ) -> errors.CopyError:
        """Note, and return, the error of this copy; the first one stays."""
        error = errors.CopyError(operation, origin, self.copy.name, cause)
        self.error = self.error or error
        return error

    @contextlib.contextmanager
    def timed(self) -> Iterator[None]:
        """Count the block as time of this copy, which fails at its end."""
        try:
            with ImageTime.shared([self.time]):
                yield
        except errors.OutOfTime as error:
            raise self.fail("copy", "destination", error) from error

    @contextlib.contextmanager
    def blame(self, operation: str, origin: errors.Origin) -> Iterator[None]:
        """Turn an error within the block into the error of this copy."""
        try:
            yield
        except errors.ImagePrepError as error:
            raise self.fail(operation, origin, error) from error


@dataclasses.dataclass(frozen=True, slots=True)
class Unprobed:
    """The registry was not asked for the blob; its push finds out."""


@dataclasses.dataclass(frozen=True, slots=True)
class Missing:
    """The registry lacks the blob."""


@dataclasses.dataclass(frozen=True, slots=True)
class MountFrom:
    """A repository of the registry is a source of the blob.

    Whether the registry lets this user read there shows when it is mounted.
    """

    repository: str


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """A repository of the registry has the blob."""

    repository: str


@dataclasses.dataclass(frozen=True, slots=True)
class Transferred:
    """This run transferred the blob to a repository of the registry."""

    repository: str


BlobState = Unprobed | Missing | MountFrom | Located | Transferred


@dataclasses.dataclass(slots=True, eq=False)
class BlobCopy:
    """One blob that a destination registry needs.

    :ivar images: those that need it.
    """

    blob: Descriptor
    images: list[ImageCopy]
    state: BlobState = Unprobed()

    @property
    def registry(self) -> str:
        return self.images[0].registry

    @property
    def location(self) -> str | None:
        """A repository of the registry that has the blob, or None."""
        match self.state:
            case Located(repository) | Transferred(repository):
                return repository
        return None

    @property
    def holder(self) -> ImageCopy:
        """An image of the repository that has the blob."""
        return next(i for i in self.images if i.repository == self.location)

    @property
    def travels(self) -> bool:
        """Whether its bytes probably have to be sent."""
        return isinstance(self.state, Unprobed | Missing)

    @property
    def failed(self) -> bool:
        """Whether no image needs it any more."""
        return not self.waiting

    @property
    def waiting(self) -> list[ImageCopy]:
        """The images that still need it."""
        return [image for image in self.images if image.needs(self.blob)]

    @property
    def sources(self) -> list[ImageCopy]:
        """An image of each source that has it."""
        by_source = {
            (i.copy.source.registry, i.copy.source.repository): i
            for i in self.images
        }
        return list(by_source.values())

    def by_repository(self) -> dict[str, list[ImageCopy]]:
        """The images that need it in each destination repository."""
        images: dict[str, list[ImageCopy]] = {}
        for image in self.waiting:
            images.setdefault(image.repository, []).append(image)
        return images
