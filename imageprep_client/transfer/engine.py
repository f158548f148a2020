"""The engine: brings images from stores to stores.

In this order, for all images of a run together: every blob once per
destination (streamed, or mounted within the destination), one barrier,
manifests with children first, one barrier, tags, one barrier. Whatever stops
the run in between, no tag names an image that is not whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.observer import (
    BlobOutcome,
    ImageOutcome,
    Observer,
    Phase,
)
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import base, verify
from imageprep_client.transfer import graph as graphs
from imageprep_client.transfer.copies import (
    BlobCopy,
    Copy,
    ImageCopy,
    Located,
    Missing,
    MountFrom,
    Transferred,
    Unprobed,
)
from imageprep_client.transfer.known import KnownContent
from imageprep_client.transfer.preflight import Preflight, Probing
from imageprep_client.transfer.stream import SideError, Streams
from imageprep_client.transfer.workers import Cancelled, Workers

#: How many pieces of work are done at once, at most, where nothing else is
#: said. Stores may let fewer through: those that are near need few.
CONCURRENCY = 96
# Streams of large blobs keep a link or a disk busy with few; small blobs
# cost round trips, which only many at once hide.
_LARGE = base.CHUNK
_LARGE_STREAMS = 12
_WHOLE_INDEXES = (
    "this registry may take only whole indexes; leave --platform out"
)
_NO_REFERRERS = (
    "this registry may take no signatures or other artefacts; copy the image"
    " without them with --no-referrers"
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CopyResult:
    """The result of one copy.

    :ivar outcome: LEFT when another image's failure ended the run first.
    :ivar descriptor: what the destination's tag names; None when unknown.
    :ivar copied: bytes that travelled; a blob that images share counts once.
    :ivar mounted: bytes taken over within the destination.
    :ivar kept: bytes that were in place.
    :ivar seconds: from the first request to the tag.
    """

    copy: Copy
    outcome: ImageOutcome
    descriptor: Descriptor | None
    copied: int
    mounted: int
    kept: int
    seconds: float
    error: errors.ImagePrepError | None


def copy_all(
    copies: Sequence[Copy],
    *,
    observer: Observer,
    concurrency: int = CONCURRENCY,
    keep_going: bool = False,
    dry_run: bool = False,
    known: KnownContent | None = None,
) -> list[CopyResult]:
    """Copy images, each blob once per destination; one result per copy.

    Content that exists is skipped, what the destination can mount is
    mounted, the rest is streamed. Children are stored before the manifest
    that names them and tags are written last, so an interrupted run shows
    nothing half-made and is safe to repeat. Bytes are copied unchanged.

    An image that fails is a result, not an exception. Without `keep_going`
    nothing is moved when an image cannot be resolved, and the first failure
    later leaves the rest.

    :param dry_run: find out what would be moved, and write nothing.
    :param known: content that was read before and is not fetched again.
    :raises NoSpace: when the destination has no room; nothing was moved.
    """
    known = known or KnownContent()
    with Workers(concurrency, keep_going=keep_going or dry_run) as workers:
        preflight = Preflight(
            copies,
            workers,
            observer,
            probing=Probing.AT_ONCE if dry_run else Probing.WITH_THE_PUSH,
            known=known,
        )
        preflight.run()
        if dry_run:
            preflight.estimate()
        elif not workers.stopped:
            preflight.check_space()
            _Transfer(preflight, workers, observer, known).run()
    unfinished = ImageOutcome.PLANNED if dry_run else ImageOutcome.LEFT
    return [_result(image, unfinished) for image in preflight.images]


def copy(
    source: base.ReadableStore,
    reference: str,
    destination: base.Store,
    tag: str,
    *,
    observer: Observer,
) -> Descriptor:
    """Copy everything `reference` names and tag it at the destination.

    As `copy_all` does for many.

    :returns: the root descriptor.
    :raises CopyError: `origin` says which side failed; the `StoreError` is
        its cause.
    """
    name = f"{source.registry}/{source.repository}:{reference}"
    one = Copy(
        name=name,
        source=source,
        reference=reference,
        destination=destination,
        tag=tag,
    )
    (result,) = copy_all([one], observer=observer)
    if result.error is not None:
        raise result.error
    if result.descriptor is None:
        raise Cancelled(f"{name}: stopped")
    return result.descriptor


@dataclasses.dataclass(frozen=True, slots=True)
class _Bring:
    """Have a blob in one repository of the registry."""

    copy: BlobCopy

    @property
    def streams_much(self) -> bool:
        copy = self.copy
        return copy.location is None and copy.blob.size >= _LARGE


@dataclasses.dataclass(frozen=True, slots=True)
class _Spread:
    """Have a blob that the registry has in the repository of an image."""

    copy: BlobCopy
    image: ImageCopy

    @property
    def streams_much(self) -> bool:
        return False


@dataclasses.dataclass(frozen=True, slots=True)
class _Send:
    """Send a blob once more, to a repository that cannot mount it."""

    copy: BlobCopy
    image: ImageCopy

    @property
    def streams_much(self) -> bool:
        return self.copy.blob.size >= _LARGE


_Step = _Bring | _Spread | _Send


class _Transfer:
    """The part of a run that moves bytes."""

    def __init__(
        self,
        preflight: Preflight,
        workers: Workers,
        observer: Observer,
        known: KnownContent,
    ) -> None:
        self._preflight = preflight
        self._workers = workers
        self._observer = observer
        self._lock = threading.Lock()
        self._streams = Streams(workers, observer, known)

    def run(self) -> None:
        """Blobs, manifests, tags; failures are in the images' `error`."""
        self._blobs()
        self._flush()
        self._images(Phase.MANIFESTS, self._push_manifests)
        self._flush()
        self._images(Phase.TAGS, self._tag)
        self._flush()

    def _blobs(self) -> None:
        """Bring each blob, and spread it to the repositories that need it."""
        copies = [c for c in self._preflight.blobs if not c.failed]
        self._observer.phase(Phase.BLOBS, len(copies))
        steps: list[_Step] = [_Bring(copy) for copy in copies]
        self._workers.each(
            self._step,
            steps,
            large=lambda step: step.streams_much,
            limit=_LARGE_STREAMS,
        )

    def _step(self, step: _Step) -> Sequence[_Step]:
        """Take one step; returns those that it makes possible."""
        if isinstance(step, _Bring):
            self._bring(step.copy)
            return self._spread(step.copy)
        if not step.image.needs(step.copy.blob):
            return []
        try:
            if isinstance(step, _Send):
                self._send(step.copy, step.image)
                return []
            return self._take_over(step.copy, step.image)
        except SideError as error:
            if self._leave(step.copy, step.image, error):
                return []
            raise error.cause from error

    def _bring(self, copy: BlobCopy) -> None:
        """See that one repository has the blob.

        A repository that refuses it is the failure of its own images: the
        others may have it from the next one.
        """
        failure: SideError | None = None
        while copy.location is None:
            waiting = copy.waiting
            if not waiting:
                break
            try:
                self._bring_to(copy, waiting[0])
            except SideError as error:
                own = error.origin == "destination"
                refused = own and not error.cause.temporary
                repository = waiting[0].repository
                lacking = [
                    image
                    for image in waiting
                    if image.repository == repository or not refused
                ]
                optional = [self._leave(copy, i, error) for i in lacking]
                if all(optional):
                    continue
                failure = error
                if not self._workers.keep_going:
                    break
        if failure and not (copy.location and self._workers.keep_going):
            raise failure.cause from failure

    def _leave(
        self, copy: BlobCopy, image: ImageCopy, error: SideError
    ) -> bool:
        """Go on without a blob that cannot be had.

        :returns: whether the image can do without it.
        """
        artefacts = image.lacks(
            copy.blob, error.operation, error.origin, error.cause
        )
        for digest in artefacts:
            self._observer.note(
                f"{image.copy.name}: artefact {digest} stays behind:"
                f" {error.cause}"
            )
        return bool(artefacts)

    def _bring_to(self, copy: BlobCopy, image: ImageCopy) -> None:
        """Have the blob in the repository of this image."""
        repository = image.repository
        if isinstance(copy.state, MountFrom):
            if self._mount(copy, image, copy.state.repository):
                copy.state = Transferred(repository)
                self._done(copy, image, BlobOutcome.MOUNTED)
                return
            # A registry that does not mount has begun a push instead.
            copy.state = Missing()
            self._observer.bytes_expected(copy.blob.size)
        if isinstance(copy.state, Unprobed) and self._begin(copy, image):
            copy.state = Located(repository)
            self._observer.blob_finished(copy.blob, BlobOutcome.PRESENT)
            return
        self._streams.move(copy, image)
        copy.state = Transferred(repository)
        self._done(copy, image, BlobOutcome.COPIED)

    def _mount(
        self, copy: BlobCopy, image: ImageCopy, repository: str | None
    ) -> bool:
        """Whether the blob could be mounted from another repository.

        Registries fail to mount what they take as an upload.
        """
        if image.powers.mounts is None:
            return False
        with _blamed("mount blob"):
            try:
                return image.powers.mounts.mount(copy.blob, repository)
            except (errors.AccessDenied, errors.NotFound, errors.ServerFault):
                return False

    def _begin(self, copy: BlobCopy, image: ImageCopy) -> bool:
        """Whether the destination turns out to have the blob."""
        if image.powers.begins_pushes is None:
            return False
        with _blamed("push blob"):
            exists = image.powers.begins_pushes.begin(copy.blob)
        if exists:
            self._observer.bytes_expected(-copy.blob.size)
        return exists

    def _spread(self, copy: BlobCopy) -> list[_Spread]:
        """Steps for the other repositories that need the blob."""
        others = copy.by_repository()
        first = others.pop(copy.location or "", None)
        if first and isinstance(copy.state, Located):
            self._count(copy, first, BlobOutcome.PRESENT)
        return [_Spread(copy, image) for image in others.values()]

    def _take_over(self, copy: BlobCopy, image: ImageCopy) -> list[_Send]:
        """Mount the blob into one repository; else the step that sends it."""
        if self._mount(copy, image, copy.location):
            self._done(copy, image, BlobOutcome.MOUNTED)
            return []
        with _blamed("mount blob"):
            exists = image.copy.destination.exists(copy.blob)
        if exists:
            self._done(copy, image, BlobOutcome.PRESENT)
            return []
        return [_Send(copy, image)]

    def _send(self, copy: BlobCopy, image: ImageCopy) -> None:
        self._streams.move(copy, image)
        self._done(copy, image, BlobOutcome.COPIED)

    def _done(
        self, copy: BlobCopy, image: ImageCopy, outcome: BlobOutcome
    ) -> None:
        self._count(copy, image, outcome)
        self._observer.blob_finished(copy.blob, outcome)

    def _count(
        self, copy: BlobCopy, image: ImageCopy, outcome: BlobOutcome
    ) -> None:
        with self._lock:
            image.sizes[outcome] += copy.blob.size

    def _images(self, phase: Phase, work: Callable[[ImageCopy], None]) -> None:
        """One step of every image that is still on its way."""
        images = [i for i in self._preflight.images if i.graphs]
        images = [i for i in images if not i.error]
        self._observer.phase(phase, len(images))
        self._workers.each(work, images)

    def _push_manifests(self, image: ImageCopy) -> None:
        """Push all, children first, but for the one pushed with its tag."""
        for graph in image.graphs:
            for manifest in graph.manifests:
                is_root = image.graph and manifest is image.graph.root
                if is_root and _tags_on_push(image):
                    continue
                with self._pushing(image, manifest, graph):
                    image.copy.destination.push(
                        manifest.descriptor, _content(manifest)
                    )

    @staticmethod
    @contextlib.contextmanager
    def _pushing(
        image: ImageCopy, manifest: Manifest, graph: graphs.Graph
    ) -> Iterator[None]:
        with image.blame("push manifest", "destination"):
            try:
                yield
            except errors.StoreError as error:
                some = isinstance(image.copy.platforms, graphs.SomePlatforms)
                if graph is not image.graph:
                    error.hint = error.hint or _NO_REFERRERS
                elif some and manifest.is_index:
                    error.hint = error.hint or _WHOLE_INDEXES
                raise

    def _tag(self, image: ImageCopy) -> None:
        if image.root is None or image.graph is None:
            return
        destination, tag = image.copy.destination, image.copy.tag
        if pushes_tagged := _tags_on_push(image):
            root = image.graph.root
            with self._pushing(image, root, image.graph):
                pushes_tagged.push_tagged(root.descriptor, _content(root), tag)
        else:
            # An image's tag is not visible before its artefacts are.
            for artefact in image.attached:
                root = artefact.graph.root
                for own in artefact.tags:
                    with self._pushing(image, root, artefact.graph):
                        destination.tag(root.descriptor, own)
            with image.blame("tag", "destination"):
                destination.tag(image.root, tag)
        image.finish(ImageOutcome.COPIED)
        self._observer.image_finished(image.copy.name, ImageOutcome.COPIED)

    def _flush(self) -> None:
        """One barrier per destination that keeps content on this host."""
        written = (
            i
            for i in self._preflight.images
            if i.graph and i.outcome is not ImageOutcome.PRESENT
        )
        powers = {i.registry: i.powers.flushes for i in written}
        for flushes in filter(None, powers.values()):
            flushes.flush()


@contextlib.contextmanager
def _blamed(operation: str) -> Iterator[None]:
    """Turn an error of the destination within the block into `SideError`."""
    try:
        yield
    except errors.StoreError as error:
        raise SideError(operation, "destination", error) from error


def _content(manifest: Manifest) -> base.Content:
    return verify.from_bytes(manifest.content, manifest.descriptor)


def _tags_on_push(image: ImageCopy) -> base.PushesTagged | None:
    """The power to push the image's manifest with its tag, if it is used.

    What is attached to it may have to come between the two.
    """
    return None if image.attached else image.powers.pushes_tagged


def _result(image: ImageCopy, unfinished: ImageOutcome) -> CopyResult:
    finished = image.finished or time.monotonic()
    outcome = image.outcome or unfinished
    return CopyResult(
        image.copy,
        ImageOutcome.FAILED if image.error else outcome,
        image.root,
        image.sizes[BlobOutcome.COPIED],
        image.sizes[BlobOutcome.MOUNTED],
        image.sizes[BlobOutcome.PRESENT],
        finished - image.started,
        image.error,
    )
