"""The engine: brings images from stores to stores.

In this order, for all images of a run together: every blob once per
destination (streamed, or taken over within the destination), one barrier,
manifests with children first, one barrier, tags, one barrier. Whatever stops
the run in between, no tag names an image that is not whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores import base, verify
from imageprep_client.transfer.ledger import Ledger
from imageprep_client.transfer.stream import SideError, Streams
from imageprep_client.transfer.survey import Copy, Item, Need, Survey
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
        survey = Survey(copies, workers, observer, ledger, thorough=dry_run)
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
        self._streams = Streams(workers, observer)

    def run(self) -> None:
        """Blobs, manifests, tags; failures are in the items' `error`."""
        self._blobs()
        self._flush()
        self._images("manifests", self._push_manifests)
        self._flush()
        self._images("tags", self._tag)
        self._flush()

    def _blobs(self) -> None:
        """Bring each blob; once it is there, spread it to who needs it."""
        needs = [n for n in self._survey.needs if not n.failed]
        self._observer.phase("blobs", len(needs))
        self._workers.each(
            self._step,
            [_Step(need) for need in needs],
            large=lambda step: step.streams_much,
            limit=_LARGE_STREAMS,
        )

    def _step(self, step: _Step) -> list[_Step]:
        """Take one step; those that it makes possible."""
        need, item = step.need, step.item
        if item is None:
            self._bring(need)
            return self._spread(need)
        if item.error:
            return []
        try:
            if step.streams:
                self._stream_to(need, item)
                return []
            return self._take_over(need, item)
        except SideError as error:
            item.fail(error.operation, error.origin, error.cause)
            raise error.cause from error

    def _bring(self, need: Need) -> None:
        """See that a repository that needs the blob has it.

        A repository that refuses it is the failure of its own images: the
        others may have it from the next one.
        """
        failure: SideError | None = None
        while need.home is None:
            waiting = [item for item in need.items if not item.error]
            if not waiting:
                break
            try:
                self._bring_to(need, waiting[0])
            except SideError as error:
                failure = error
                own = error.origin == "destination"
                refused = own and not error.cause.temporary
                repository = waiting[0].copy.destination.repository
                for item in waiting:
                    its = item.copy.destination.repository == repository
                    if its or not refused:
                        item.fail(error.operation, error.origin, error.cause)
                if not self._workers.keep_going:
                    break
        if failure and not (need.home and self._workers.keep_going):
            raise failure.cause from failure

    def _bring_to(self, need: Need, item: Item) -> None:
        """Have the blob in the repository of this image."""
        destination = item.copy.destination
        how = "present"
        if need.origin is not None and self._mounts(need, destination):
            need.brought = True
            self._tally(item, "mounted", need.blob.size)
            how = "mounted"
        elif need.sought or not self._begin(need.blob, destination):
            self._streams.move(need.blob, _sources(need), destination)
            need.brought = True
            self._tally(item, "copied", need.blob.size)
            how = "copied"
        need.home = destination.repository
        self._ledger.record(need.registry, need.blob.digest, need.home)
        self._observer.blob_finished(need.blob, how)

    def _mounts(self, need: Need, destination: base.Store) -> bool:
        """Whether the blob could be mounted from where it is a source.

        A registry that does not do that began a push instead.
        """
        origin, need.origin = need.origin, None
        mounted = False
        try:
            if isinstance(destination, base.Mounts):
                with _mounting():
                    mounted = destination.mount(need.blob, origin)
        finally:
            if not mounted:
                need.sought = True
                self._observer.bytes_expected(need.blob.size)
        return mounted

    def _begin(self, blob: Descriptor, destination: base.Store) -> bool:
        """Whether the destination turns out to have the blob."""
        if not isinstance(destination, base.BeginsPushes):
            return False
        try:
            found = destination.begin(blob)
        except errors.StoreError as error:
            raise SideError("push blob", "destination", error) from error
        if found:
            self._observer.bytes_expected(-blob.size)
        return found

    def _spread(self, need: Need) -> list[_Step]:
        """The other repositories that need the blob, each once."""
        others: dict[str, Item] = {}
        for item in need.items:
            repository = item.copy.destination.repository
            if not item.error:
                others.setdefault(repository, item)
        home = others.pop(need.home or "", None)
        if home and not need.brought:
            self._tally(home, "kept", need.blob.size)
        return [_Step(need, item) for item in others.values()]

    def _take_over(self, need: Need, item: Item) -> list[_Step]:
        """Mount the blob into one repository; the step that else does."""
        destination = item.copy.destination
        with _mounting():
            if isinstance(destination, base.Mounts) and destination.mount(
                need.blob, need.home
            ):
                self._tally(item, "mounted", need.blob.size)
                self._observer.blob_finished(need.blob, "mounted")
                return []
            if destination.exists(need.blob):
                self._tally(item, "kept", need.blob.size)
                self._observer.blob_finished(need.blob, "present")
                return []
        return [_Step(need, item, streams=True)]

    def _stream_to(self, need: Need, item: Item) -> None:
        """For who cannot mount: send the blob once more."""
        destination = item.copy.destination
        self._streams.move(need.blob, _sources(need), destination)
        self._tally(item, "copied", need.blob.size)
        self._observer.blob_finished(need.blob, "copied")

    def _images(self, phase: str, work: Callable[[Item], None]) -> None:
        """One step of every image that is still on its way."""
        items = [i for i in self._survey.items if i.graph and not i.error]
        items = [i for i in items if not i.present]
        self._observer.phase(phase, len(items))
        self._workers.each(work, items)

    def _push_manifests(self, item: Item) -> None:
        """Push all, children first, but for what is pushed with its tag."""
        if item.graph is None:
            return
        found = [item.graph, *(each.graph for each in item.attached)]
        for manifest in (m for graph in found for m in graph.manifests):
            if manifest is not item.graph.root or not _tags_on_push(item):
                with self._pushing(item, manifest):
                    item.copy.destination.push(
                        manifest.descriptor,
                        verify.from_bytes(
                            manifest.content, manifest.descriptor
                        ),
                    )

    @staticmethod
    @contextlib.contextmanager
    def _pushing(item: Item, manifest: Manifest) -> Iterator[None]:
        with item.blame("push manifest", "destination"):
            try:
                yield
            except errors.StoreError as error:
                if item.copy.only and manifest.is_index:
                    error.hint = error.hint or _WHOLE_INDEXES
                raise

    def _tag(self, item: Item) -> None:
        if item.root is None or item.graph is None:
            return
        destination, tag = item.copy.destination, item.copy.tag
        if tags_on_push := _tags_on_push(item):
            root = item.graph.root
            content = verify.from_bytes(root.content, root.descriptor)
            with self._pushing(item, root):
                tags_on_push.push_tagged(root.descriptor, content, tag)
        else:
            with item.blame("tag", "destination"):
                # Who sees the image's tag finds what is attached to it.
                for each in item.attached:
                    for own in each.tags:
                        destination.tag(each.graph.root.descriptor, own)
                destination.tag(item.root, tag)
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


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """A blob to bring, or, with an item, to spread to its repository.

    :ivar streams: whether it is known that its bytes have to be sent there.
    """

    need: Need
    item: Item | None = None
    streams: bool = False

    @property
    def streams_much(self) -> bool:
        brings = self.item is None and self.need.home is None
        return (brings or self.streams) and self.need.blob.size >= _LARGE


@contextlib.contextmanager
def _mounting() -> Iterator[None]:
    """Say of what goes wrong within what was being done."""
    try:
        yield
    except errors.StoreError as error:
        raise SideError("mount blob", "destination", error) from error


def _sources(need: Need) -> list[base.ReadableStore]:
    """Where the blob can be fetched from, each once."""
    sources = (item.copy.source for item in need.items)
    return list({(s.registry, s.repository): s for s in sources}.values())


def _tags_on_push(item: Item) -> base.PushesTagged | None:
    """The destination, if the image's manifest is pushed with its tag.

    What is attached to it may have to come between the two.
    """
    destination = item.copy.destination
    if item.attached or not isinstance(destination, base.PushesTagged):
        return None
    return destination


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
