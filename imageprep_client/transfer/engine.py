"""The engine: brings images from stores to stores.

In this order, for all images of a run together: every blob once per
destination (streamed, or taken over within the destination), one barrier,
manifests with children first, one barrier, tags, one barrier. Whatever stops
the run in between, no tag names an image that is not whole.
"""

from __future__ import annotations

import dataclasses
import enum
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify
from imageprep_client.transfer import resume
from imageprep_client.transfer.ledger import Ledger
from imageprep_client.transfer.survey import Copy, Item, Need, Survey
from imageprep_client.transfer.workers import Cancelled, Workers

#: How many pieces of work are done at once where nothing else is said.
CONCURRENCY = 32
# Streams of large blobs keep a link or a disk busy with few; small blobs
# cost round trips, which only many at once hide.
_LARGE = 4 * 1024 * 1024
_LARGE_STREAMS = 8
# A blob whose upload broke off is fetched again from its source: the
# transport cannot send a stream twice, nor know before the end that what it
# reads is wrong. Of a hundred large blobs some break often when three of ten
# answers are faults; but what the transport itself tried for long is given up.
_ATTEMPTS = 12
_PATIENCE = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0
_SOURCES = 4
_WHOLE_INDEXES = (
    "this registry may take only whole indexes; leave --platform out"
)


class Status(enum.StrEnum):
    """What became of one image."""

    COPIED = "copied"
    PRESENT = "present"
    PLANNED = "planned"
    FAILED = "failed"
    LEFT = "left"


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """The result of one copy.

    :ivar status: LEFT when another image's failure ended the run first.
    :ivar descriptor: what the destination's tag names; None when unknown.
    :ivar copied: bytes that travelled; a blob that images share counts once.
    :ivar mounted: bytes taken over within the destination.
    :ivar kept: bytes that were in place.
    :ivar seconds: from the first request to the tag.
    """

    copy: Copy
    status: Status
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
    ledger: Ledger,
    concurrency: int = CONCURRENCY,
    keep_going: bool = False,
    dry_run: bool = False,
) -> list[Outcome]:
    """Copy images, each blob once per destination; one outcome per copy.

    Content that exists is skipped, what the destination can mount is
    mounted, the rest is streamed. Children are stored before the manifest
    that names them and tags are written last, so an interrupted run shows
    nothing half-made and is safe to repeat. Bytes are copied unchanged.

    An image that fails is an outcome, not an exception. Without `keep_going`
    nothing is moved when an image cannot be resolved, and the first failure
    later leaves the rest.

    :param ledger: shared by all copies of a run.
    :param dry_run: find out what would be moved, and write nothing.
    :raises NoSpace: when the destination has no room; nothing was moved.
    """
    with Workers(concurrency, keep_going=keep_going or dry_run) as workers:
        survey = Survey(copies, workers, observer, ledger)
        survey.run()
        if dry_run:
            survey.estimate()
        elif not workers.stopped:
            survey.check_space()
            _Transfer(survey, workers, observer, ledger).run()
    return [_outcome(item, dry_run=dry_run) for item in survey.items]


def copy(
    source: base.ReadableStore,
    reference: str,
    destination: base.Store,
    tag: str,
    *,
    ledger: Ledger,
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
    (outcome,) = copy_all([one], observer=observer, ledger=ledger)
    if outcome.error is not None:
        raise outcome.error
    if outcome.descriptor is None:
        raise Cancelled(f"{name}: stopped")
    return outcome.descriptor


class _Transfer:
    """The part of a run that moves bytes."""

    def __init__(
        self,
        survey: Survey,
        workers: Workers,
        observer: Observer,
        ledger: Ledger,
    ) -> None:
        self._survey = survey
        self._workers = workers
        self._observer = observer
        self._ledger = ledger
        self._lock = threading.Lock()

    def run(self) -> None:
        """Blobs, manifests, tags; failures are in the items' `error`."""
        self._blobs()
        self._flush()
        self._images("manifests", self._push_manifests)
        self._flush()
        self._images("tags", self._tag)
        self._flush()

    def _blobs(self) -> None:
        needs = [n for n in self._survey.needs if not n.failed]
        missing = [n for n in needs if n.home is None]
        large = [n for n in missing if n.blob.size >= _LARGE]
        small = [n for n in missing if n.blob.size < _LARGE]
        self._observer.phase("blobs", len(missing))
        self._workers.each(self._bring, large, limit=_LARGE_STREAMS)
        self._workers.each(self._bring, small)
        placed = [n for n in needs if n.home is not None]
        self._observer.phase("mounts", len(placed))
        self._workers.each(self._spread, placed)

    def _bring(self, need: Need) -> None:
        """Stream a blob into the first repository that needs it."""
        waiting = [item for item in need.items if not item.error]
        if not waiting:
            return
        item = waiting[0]
        try:
            self._stream(need.blob, need.items, item.copy.destination)
        except Cancelled:
            raise
        except _SideError as error:
            for other in need.items:
                other.fail(error.operation, error.origin, error.cause)
            raise error.cause from error
        self._tally(item, "copied", need.blob.size)
        need.home = item.copy.destination.repository
        need.streamed = True
        self._ledger.record(need.registry, need.blob.digest, need.home)
        self._observer.blob_finished(need.blob, "copied")

    def _spread(self, need: Need) -> None:
        """Take the blob over into the other repositories that need it."""
        done: set[str] = set()
        for item in need.items:
            self._workers.check()
            repository = item.copy.destination.repository
            if item.error or repository in done:
                continue
            done.add(repository)
            if repository == need.home:
                if not need.streamed:
                    self._tally(item, "kept", need.blob.size)
                continue
            try:
                self._take_over(need, item)
            except _SideError as error:
                item.fail(error.operation, error.origin, error.cause)
                raise error.cause from error

    def _take_over(self, need: Need, item: Item) -> None:
        """Mount one blob into one repository, or stream it there."""
        destination = item.copy.destination
        try:
            if isinstance(destination, base.Mounts) and destination.mount(
                need.blob, need.home
            ):
                self._tally(item, "mounted", need.blob.size)
                self._observer.blob_finished(need.blob, "mounted")
                return
            if destination.exists(need.blob):
                self._tally(item, "kept", need.blob.size)
                self._observer.blob_finished(need.blob, "present")
                return
        except errors.StoreError as error:
            raise _SideError("mount blob", "destination", error) from error
        self._stream(need.blob, need.items, destination)
        self._tally(item, "copied", need.blob.size)
        self._observer.blob_finished(need.blob, "copied")

    def _stream(
        self, blob: Descriptor, items: Sequence[Item], destination: base.Store
    ) -> None:
        """Move a blob; another image's source is tried where one fails.

        :raises _SideError: from the last try.
        """
        sources = {
            (s.registry, s.repository): s
            for s in (item.copy.source for item in items)
        }
        last: _SideError | None = None
        for source in list(sources.values())[:_SOURCES]:
            end = time.monotonic() + _PATIENCE
            for attempt in range(_ATTEMPTS):
                if attempt:
                    self._workers.pause(
                        min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)
                    )
                self._workers.check()
                try:
                    return self._stream_once(blob, source, destination)
                except _SideError as error:
                    last = error
                    if not error.cause.temporary or time.monotonic() > end:
                        break
            if last and last.origin == "destination":
                break
        assert last is not None  # noqa: S101 - there is a source
        raise last

    def _stream_once(
        self,
        blob: Descriptor,
        source: base.ReadableStore,
        destination: base.Store,
    ) -> None:
        try:
            content = resume.fetch(blob, source, destination)
        except errors.ImagePrepError as error:
            raise _SideError("fetch blob", "source", error) from error
        with content:
            metered = _Metered(content, blob, self._workers, self._observer)
            try:
                destination.push(blob, metered)
            except Cancelled:
                raise
            except errors.ImagePrepError as error:
                self._observer.bytes_copied(-metered.count)
                if metered.error is not None:
                    raise _SideError(
                        "fetch blob", "source", metered.error
                    ) from error
                raise _SideError("push blob", "destination", error) from error

    def _images(self, phase: str, work: Callable[[Item], None]) -> None:
        """One step of every image that is still on its way."""
        items = [i for i in self._survey.items if i.graph and not i.error]
        items = [i for i in items if not i.present]
        self._observer.phase(phase, len(items))
        self._workers.each(work, items)

    @staticmethod
    def _push_manifests(item: Item) -> None:
        if item.graph is None:
            return
        graphs = [item.graph, *(each.graph for each in item.attached)]
        with item.blame("push manifest", "destination"):
            for manifest in (m for graph in graphs for m in graph.manifests):
                content = verify.from_bytes(
                    manifest.content, manifest.descriptor
                )
                try:
                    item.copy.destination.push(manifest.descriptor, content)
                except errors.StoreError as error:
                    if item.copy.only and manifest.is_index:
                        error.hint = error.hint or _WHOLE_INDEXES
                    raise

    def _tag(self, item: Item) -> None:
        if item.root is None:
            return
        with item.blame("tag", "destination"):
            # Who sees the image's tag finds what is attached to it.
            for each in item.attached:
                if each.tag:
                    item.copy.destination.tag(
                        each.graph.root.descriptor, each.tag
                    )
            item.copy.destination.tag(item.root, item.copy.tag)
        item.finished = time.monotonic()
        self._observer.image_finished(item.copy.name, Status.COPIED)

    def _flush(self) -> None:
        """One barrier per destination that keeps content on this host."""
        homes = {
            item.copy.destination.registry: item.copy.destination
            for item in self._survey.items
            if item.graph and not item.present
        }
        for destination in homes.values():
            if isinstance(destination, base.Flushes):
                destination.flush()

    def _tally(self, item: Item, kind: str, size: int) -> None:
        with self._lock:
            setattr(item, kind, getattr(item, kind) + size)


class _SideError(Exception):
    """A failure with the side it came from, on its way to the items."""

    def __init__(
        self,
        operation: str,
        origin: errors.Origin,
        cause: errors.ImagePrepError,
    ) -> None:
        super().__init__(operation)
        self.operation = operation
        self.origin = origin
        self.cause = cause


class _Metered:
    """Content that counts what passes, and ends when the run is stopped.

    :ivar count: bytes so far.
    :ivar error: what the source raised, to tell it from the destination's.
    """

    def __init__(
        self,
        content: base.Content,
        blob: Descriptor,
        workers: Workers,
        observer: Observer,
    ) -> None:
        # The content may verify the blob already; who pushes must know it.
        self.verifies = getattr(content, "verifies", None)
        self.count = 0
        self.error: errors.ImagePrepError | None = None
        self._content = content
        self._workers = workers
        self._observer = observer

    def read(self, size: int = -1, /) -> bytes:
        self._workers.check()
        try:
            chunk = self._content.read(size)
        except errors.ImagePrepError as error:
            self.error = error
            raise
        self.count += len(chunk)
        self._observer.bytes_copied(len(chunk))
        return chunk

    def close(self) -> None:
        self._content.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _outcome(item: Item, *, dry_run: bool) -> Outcome:
    finished = item.finished or time.monotonic()
    if item.error:
        status = Status.FAILED
    elif item.present:
        status = Status.PRESENT
    elif dry_run:
        status = Status.PLANNED
    else:
        status = Status.COPIED if item.finished else Status.LEFT
    return Outcome(
        item.copy,
        status,
        item.root,
        item.copied,
        item.mounted,
        item.kept,
        finished - item.started,
        item.error,
    )
