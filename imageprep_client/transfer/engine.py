"""The engine: copies images from stores to stores.

All images of a run are copied together, in this order: every blob once per
destination (streamed, or mounted within the destination), a barrier,
manifests with children first, a barrier, tags, a barrier. However a run is
interrupted, no tag names an incomplete image.
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
    Forwarding,
    ImageOutcome,
    Observer,
    Phase,
)
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import base, verify
from imageprep_client.transfer import graph as graphs
from imageprep_client.transfer.blobs import BlobTransfers
from imageprep_client.transfer.copies import Copy, ImageCopy
from imageprep_client.transfer.fanout import FanOut
from imageprep_client.transfer.known import KeepsChecks, KnownContent
from imageprep_client.transfer.preflight import Preflight
from imageprep_client.transfer.run import CopyRun
from imageprep_client.transfer.workers import LOCAL, Workers

#: The default number of threads, at most. More of them take memory, and make
#: no copy measurably faster.
CONCURRENCY = 64
_WHOLE_INDEXES = (
    "this registry may take only whole indexes; leave --platform out"
)
_NO_REFERRERS = (
    "this registry may take no signatures or other artifacts; copy the image"
    " without them with --no-referrers"
)
_NONDISTRIBUTABLE = (
    "this registry may refuse layers of non-distributable types, or their"
    " URLs: allow them there (validation.manifests.urls of distribution), or"
    " copy the image to a tree or a layout"
)
_FORGOTTEN = (
    "the registry said that it has all parts of the image: after a garbage"
    " collection, it may have to be restarted to forget what was removed"
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class CopyResult:
    """The result of one copy.

    :ivar outcome: LEFT when the failure of another image ended the run first.
    :ivar descriptor: what the destination's tag names; None when unknown.
    :ivar copied: bytes that were sent; a blob that images share counts once.
    :ivar mounted: bytes mounted within the destination.
    :ivar kept: bytes that were present before.
    :ivar seconds: from the first request to the tag.
    :ivar accepted: why the image may be copied; None: anything may.
    """

    copy: Copy
    outcome: ImageOutcome
    descriptor: Descriptor | None
    copied: int
    mounted: int
    kept: int
    seconds: float
    error: errors.ImagePrepError | None
    accepted: str | None = None


def copy_all(
    copies: Sequence[Copy],
    *,
    observer: Observer,
    concurrency: int = CONCURRENCY,
    keep_going: bool = False,
    dry_run: bool = False,
    known: KnownContent | None = None,
    checks: KeepsChecks | None = None,
    independently: bool = False,
) -> list[CopyResult]:
    """Copy images, each blob once per destination; one result per copy.

    Content that exists is skipped, what the destination can mount is
    mounted, the rest is streamed. Children are stored before the manifest
    that names them and tags are written last, so an interrupted run leaves
    no incomplete image visible and is safe to repeat. Bytes are copied
    unchanged.

    An image that fails is a result, not an exception. Without `keep_going`
    nothing is copied when an image cannot be resolved, and the first failure
    after that ends the run.

    :param dry_run: determine what would be copied, and write nothing.
    :param known: content that was read before and is not fetched again.
    :param checks: see `CopyRun`; copied images are recorded there.
    :param independently: fill each registry independently of the others,
        concurrently; without `keep_going` a failure ends the copies to its
        registry. Each blob is read from its source once: it is streamed to all
        registries, and one that cannot keep up gets it later from another
        registry.
    :raises NoSpace: when the destination has no room; nothing was copied.
    """
    run = CopyRun(
        observer=observer,
        concurrency=concurrency,
        keep_going=keep_going or dry_run,
        dry_run=dry_run,
        known=known or KnownContent(),
        checks=checks,
    )
    if independently:
        return _copy_independently(copies, run)
    with _workers(run) as workers:
        return _copy(copies, run, workers)


def copy(
    source: base.ReadableStore,
    reference: str,
    destination: base.Store,
    tag: str,
    *,
    observer: Observer,
    concurrency: int = CONCURRENCY,
    name: str | None = None,
) -> CopyResult:
    """Copy everything `reference` names and tag it at the destination.

    As `copy_all` does for many.

    :param name: the name of the image in errors.
    :raises CopyError: `origin` says which side failed; the `StoreError` is
        its cause.
    """
    one = Copy(
        name=name or f"{source}:{reference}",
        source=source,
        reference=reference,
        destination=destination,
        tag=tag,
    )
    (result,) = copy_all([one], observer=observer, concurrency=concurrency)
    if result.error is not None:
        raise result.error
    return result


def _workers(run: CopyRun, parent: Workers | None = None) -> Workers:
    return Workers(run.concurrency, keep_going=run.keep_going, parent=parent)


def _copy(
    copies: Sequence[Copy], run: CopyRun, workers: Workers
) -> list[CopyResult]:
    preflight = Preflight(copies, run, workers)
    preflight.run()
    if run.dry_run:
        preflight.estimate()
    elif not workers.stopped:
        preflight.check_space()
        if run.fanout and preflight.blobs:
            run.fanout.begin(
                preflight.blobs[0].registry,
                [
                    b.blob.digest
                    for b in preflight.blobs
                    if not (b.location or b.failed)
                ],
            )
        _Transfer(preflight, run, workers).run()
    if run.checks:
        for image in preflight.images:
            if image.outcome is ImageOutcome.COPIED and image.root:
                run.checks.note(image.key, image.root.digest)
    unfinished = ImageOutcome.PLANNED if run.dry_run else ImageOutcome.LEFT
    return [_result(image, unfinished) for image in preflight.images]


def _copy_independently(
    copies: Sequence[Copy], run: CopyRun
) -> list[CopyResult]:
    groups: dict[str, list[int]] = {}
    for number, copy in enumerate(copies):
        groups.setdefault(copy.destination.registry, []).append(number)
    fanout = FanOut(groups)
    run = dataclasses.replace(
        run, observer=_FirstPhases(run.observer, len(copies)), fanout=fanout
    )
    results: list[CopyResult | None] = [None] * len(copies)

    def fill(registry: str) -> None:
        wanted = [copies[number] for number in groups[registry]]
        try:
            with _workers(run, parent) as workers:
                made = _copy(wanted, run, workers)
        finally:
            fanout.leave(registry)
        for number, result in zip(groups[registry], made, strict=True):
            results[number] = result

    with Workers(len(groups), keep_going=True) as parent:
        failed = dict(parent.each(fill, list(groups)))
    return [
        result or _failed(copy, failed[copy.destination.registry])
        for copy, result in zip(copies, results, strict=True)
    ]


class _FirstPhases(Forwarding):
    """Passes on the reports of several registries, each phase once."""

    def __init__(self, inner: Observer, images: int) -> None:
        super().__init__(inner)
        self._images = images
        self._seen: set[Phase] = set()
        self._lock = threading.Lock()

    def phase(self, phase: Phase, total: int) -> None:
        with self._lock:
            is_first = phase not in self._seen
            self._seen.add(phase)
        if is_first:
            super().phase(
                phase, self._images if phase is Phase.RESOLVE else total
            )


class _Transfer:
    """The part of a run that writes to the destination."""

    def __init__(
        self, preflight: Preflight, run: CopyRun, workers: Workers
    ) -> None:
        self._preflight = preflight
        self._workers = workers
        self._observer = run.observer
        self._blobs = BlobTransfers(run, workers)

    def run(self) -> None:
        """Blobs, manifests, tags; failures are in the images' `error`."""
        self._blobs.run(self._preflight.blobs)
        self._complete()
        while self._blobs.resume():
            self._complete()

    def _complete(self) -> None:
        """Complete the images whose blobs are all there."""
        self._flush()
        self._images(Phase.MANIFESTS, self._push_manifests)
        self._flush()
        self._images(Phase.TAGS, self._tag)
        self._flush()

    def _images(self, phase: Phase, work: Callable[[ImageCopy], None]) -> None:
        """Perform a step for each image whose blobs are there."""
        images = [i for i in self._preflight.images if i.graphs]
        images = self._blobs.ready(i for i in images if not i.error)
        if images:
            self._observer.phase(phase, len(images))

        def timed(image: ImageCopy) -> None:
            with image.timed():
                work(image)

        is_local = all(image.powers.flushes for image in images)
        most = LOCAL if is_local else len(images)
        self._workers.each(timed, images, most=most)

    def _push_manifests(self, image: ImageCopy) -> None:
        """Push manifests, children first, except one pushed with its tag."""
        for graph in image.graphs:
            for manifest in graph.manifests:
                is_root = image.graph and manifest is image.graph.root
                if is_root and _tags_on_push(image):
                    continue
                destination = image.copy.destination
                with self._pushing(image, manifest, graph):
                    # Only a store of this host is asked without a request.
                    present = image.powers.flushes and destination.exists(
                        manifest.descriptor
                    )
                    destination.push(manifest.descriptor, _content(manifest))
                if not present:
                    self._observer.blob_finished(
                        manifest.descriptor, BlobOutcome.COPIED
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
                elif any(
                    mediatypes.is_foreign(layer.media_type)
                    for layer in manifest.layers
                ):
                    error.hint = error.hint or _NONDISTRIBUTABLE
                elif isinstance(error, errors.PartsUnknown):
                    error.hint = error.hint or _FORGOTTEN
                raise

    def _tag(self, image: ImageCopy) -> None:
        if image.root is None or image.graph is None:
            return
        destination, tag = image.copy.destination, image.copy.tag
        if tag is not None and (pushes_tagged := _tags_on_push(image)):
            root = image.graph.root
            with self._pushing(image, root, image.graph):
                pushes_tagged.push_tagged(root.descriptor, _content(root), tag)
        else:
            # An image's tag is not visible before its artifacts are.
            for artifact in image.attached:
                root = artifact.graph.root
                for own in artifact.tags:
                    with self._pushing(image, root, artifact.graph):
                        destination.tag(root.descriptor, own)
            if tag is not None:
                with image.blame("tag", "destination"):
                    destination.tag(image.root, tag)
        image.finish(ImageOutcome.COPIED)
        self._observer.image_finished(image.copy.name, ImageOutcome.COPIED)

    def _flush(self) -> None:
        """Flush each destination that keeps content on this host."""
        written = (
            i
            for i in self._preflight.images
            if i.graph and i.outcome is not ImageOutcome.PRESENT
        )
        powers = {i.registry: i.powers.flushes for i in written}
        for flushes in filter(None, powers.values()):
            flushes.flush()


def _content(manifest: Manifest) -> base.Content:
    return verify.from_bytes(manifest.content, manifest.descriptor)


def _tags_on_push(image: ImageCopy) -> base.PushesTagged | None:
    """The power to push the image's manifest with its tag, if it is used.

    Artifacts of an image are pushed between its manifest and its tag.
    """
    if image.attached or image.copy.tag is None:
        return None
    return image.powers.pushes_tagged


def _failed(copy: Copy, cause: errors.ImagePrepError) -> CopyResult:
    """The result of a copy whose registry could not be filled."""
    error = errors.CopyError("copy", "destination", copy.name, cause)
    outcome = ImageOutcome.FAILED
    return CopyResult(copy, outcome, None, 0, 0, 0, 0.0, error)


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
        image.accepted,
    )
