"""What a set of copies needs: resolved, walked and located, nothing moved."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores import base
from imageprep_client.transfer import attached as attachments
from imageprep_client.transfer import graph as graphs
from imageprep_client.transfer.ledger import Ledger
from imageprep_client.transfer.workers import Workers

#: In how many repositories of a registry a blob is looked for before it is
#: taken to be missing; each look is a request.
_LOOKS = 3
#: Bytes of the manifests of all images of a run: they are kept until they
#: are written.
_MAX_BYTES = 256 * 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Copy:
    """One image to copy.

    :ivar name: what the user calls it; errors and progress do, too.
    :ivar reference: the tag or digest in the source.
    :ivar tag: at the destination.
    :ivar platform: instead of an index copy the image for it; None copies
        the index as it is.
    :ivar only: of an index that is copied as it is, the platforms whose
        images are wanted; empty: all.
    :ivar attached: whether signatures and other artefacts come along.
    :ivar descriptor: what `reference` resolved to, where that is known.
    """

    name: str
    source: base.ReadableStore
    reference: str
    destination: base.Store
    tag: str
    platform: Platform | None = None
    only: tuple[Platform, ...] = ()
    attached: bool = False
    descriptor: Descriptor | None = None


@dataclasses.dataclass(slots=True, eq=False)
class Item:
    """One copy and what became of it so far.

    :ivar graph: its content; None until it is known, and for an image that
        is present already.
    :ivar attached: what comes along.
    :ivar root: what the destination's tag will name.
    :ivar present: whether the destination has it all, tag included.
    :ivar populated: whether the destination's repository has a tag already,
        so that blobs may well be in it.
    :ivar copied, mounted, kept: bytes that travelled for this image, that
        were taken over within the destination, that were in place. A blob
        that several images share counts as copied for one of them.
    :ivar error: why it failed.
    """

    copy: Copy
    started: float = dataclasses.field(default_factory=time.monotonic)
    finished: float = 0.0
    graph: graphs.Graph | None = None
    attached: tuple[attachments.Attached, ...] = ()
    root: Descriptor | None = None
    present: bool = False
    populated: bool = False
    copied: int = 0
    mounted: int = 0
    kept: int = 0
    error: errors.ImagePrepError | None = None

    @property
    def blobs(self) -> dict[str, Descriptor]:
        """Everything that has to travel, by digest."""
        graphs = [each.graph for each in self.attached]
        if self.graph:
            graphs.append(self.graph)
        return {b.digest: b for graph in graphs for b in graph.blobs}

    @property
    def manifest_bytes(self) -> int:
        """Bytes of all manifests that have to be written."""
        graphs = [each.graph for each in self.attached]
        if self.graph and not self.present:
            graphs.append(self.graph)
        return sum(
            m.descriptor.size for graph in graphs for m in graph.manifests
        )

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
    def blame(self, operation: str, origin: errors.Origin) -> Iterator[None]:
        """Turn what goes wrong within into the error of this copy."""
        try:
            yield
        except errors.ImagePrepError as error:
            raise self.fail(operation, origin, error) from error


@dataclasses.dataclass(slots=True, eq=False)
class Need:
    """One blob that one destination registry has to have.

    :ivar items: the images that need it.
    :ivar home: a repository of the registry that has it, or None.
    :ivar origin: a repository of the registry that is a source of it, from
        which it may be mounted; None where there is none.
    :ivar sought: whether the registry was asked for it.
    :ivar brought: whether this run brought it there.
    """

    blob: Descriptor
    items: list[Item]
    home: str | None = None
    origin: str | None = None
    sought: bool = True
    brought: bool = False

    @property
    def registry(self) -> str:
        return self.items[0].copy.destination.registry

    @property
    def failed(self) -> bool:
        """Whether nobody needs it any more: all its images failed."""
        return all(item.error for item in self.items)


class Survey:
    """What `copies` need, found out by several threads.

    :param thorough: whether to look for each blob now, even where a push
        finds out on its way.
    :ivar items: one per copy, in their order.
    :ivar needs: the unique blobs per destination, largest and most shared
        first.
    """

    def __init__(
        self,
        copies: Sequence[Copy],
        workers: Workers,
        observer: Observer,
        ledger: Ledger,
        *,
        thorough: bool = True,
    ) -> None:
        self.items = [Item(copy) for copy in copies]
        self.needs: list[Need] = []
        self._workers = workers
        self._observer = observer
        self._ledger = ledger
        self._thorough = thorough
        self._lock = threading.Lock()
        self._noted: set[str] = set()
        self._budget = graphs.Budget(_MAX_BYTES, "all images of this run")

    def run(self) -> None:
        """Find out; failures are in the items' `error`."""
        self._observer.phase("resolve", len(self.items))
        # Who hears of one missing image wants to hear of all.
        failures = self._workers.each(
            self._resolve, self.items, tolerate=errors.NotFound
        )
        if failures and not self._workers.keep_going:
            self._workers.stop()
        self.needs = self._group()
        self._observer.phase("locate", len(self.needs))
        for need, error in self._workers.each(self._locate, self.needs):
            for item in need.items:
                item.fail("look for a blob", "destination", error)
        self._observer.bytes_expected(self.bytes_missing)

    @property
    def bytes_missing(self) -> int:
        """Bytes of blobs that have to travel."""
        return sum(
            n.blob.size
            for n in self.needs
            if n.home is None and n.origin is None
        )

    def check_space(self) -> None:
        """Compare what is missing with the room that there is.

        :raises NoSpace: when it cannot fit; nothing has been written then.
        """
        missing: dict[str, int] = {}
        homes: dict[str, base.MeasuresSpace] = {}
        for need in self.needs:
            store = need.items[0].copy.destination
            if need.home is None and isinstance(store, base.MeasuresSpace):
                homes[need.registry] = store
                missing[need.registry] = (
                    missing.get(need.registry, 0) + need.blob.size
                )
        for registry, needed in missing.items():
            free = homes[registry].free_space()
            if needed > free:
                raise errors.NoSpace(
                    f"{registry}: {needed} bytes needed, {free} bytes free",
                    needed=needed,
                    free=free,
                    hint="free some space, or name another place with"
                    " --image-serve",
                )

    def estimate(self) -> None:
        """Set the items' counts to what a run would make of them."""
        for need in self.needs:
            done: set[str] = set()
            for item in need.items:
                repository = item.copy.destination.repository
                if item.error or repository in done:
                    continue
                if need.home is None and need.origin is None and not done:
                    item.copied += need.blob.size
                elif repository == need.home:
                    item.kept += need.blob.size
                else:
                    item.mounted += need.blob.size
                done.add(repository)

    def _resolve(self, item: Item) -> None:
        """Find out what an image consists of, if it has to be copied."""
        copy = item.copy
        self._observer.image_started(copy.name)
        item.started = time.monotonic()
        with item.blame("resolve", "destination"):
            current = _named(copy.destination, copy.tag)
        item.populated = current is not None
        with item.blame("resolve", "source"):
            root = copy.descriptor or _root(copy, current)
        # Of an index only one image may be wanted: which, its manifest says.
        if copy.platform is None or root.media_type in mediatypes.MANIFESTS:
            self._compare(item, root, current)
            if item.present:
                return
        with item.blame("read manifest", "source"):
            item.graph = graphs.walk(
                copy.source, root, platform=copy.platform, only=copy.only
            )
        item.root = item.graph.root.descriptor
        if item.root != root:
            self._compare(item, item.root, current)
        if copy.attached and not item.present:
            with item.blame("read what is attached", "source"):
                item.attached = attachments.find(
                    copy.source, item.graph, self._note
                )
        with item.blame("read manifest", "source"):
            self._budget.spend(item.manifest_bytes)

    def _note(self, text: str) -> None:
        """Tell the observer once, however many images it is about."""
        with self._lock:
            told = text in self._noted
            self._noted.add(text)
        if not told:
            self._observer.note(text)

    def _compare(
        self, item: Item, root: Descriptor, current: Descriptor | None
    ) -> None:
        """Note whether the destination's tag names `root`, complete."""
        if current is None or current.digest != root.digest:
            return
        with item.blame("check", "destination"):
            if not _holds(item.copy, current):
                return
        item.root = current
        item.present = True
        item.finished = time.monotonic()
        self._observer.image_finished(item.copy.name, "present")

    def _group(self) -> list[Need]:
        """The unique blobs of all images, per destination registry."""
        needs: dict[tuple[str, str], Need] = {}
        for item in self.items:
            if item.present or item.error or item.graph is None:
                continue
            for blob in item.blobs.values():
                key = (item.copy.destination.registry, blob.digest)
                needs.setdefault(key, Need(blob, [])).items.append(item)
        return sorted(
            needs.values(), key=lambda n: (-n.blob.size, -len(n.items))
        )

    def _locate(self, need: Need) -> None:
        """Look whether the destination has the blob, anywhere."""
        need.home = self._ledger.home(need.registry, need.blob.digest)
        if need.home is not None:
            return
        first = need.items[0].copy.destination
        likely = [i for i in need.items if i.populated]
        if isinstance(first, base.Locates):
            need.home = first.locate(need.blob)
        elif (
            not likely
            and not self._thorough
            and isinstance(first, base.BeginsPushes)
        ):
            need.sought = False
        else:
            for item in (likely or need.items)[: _LOOKS if likely else 1]:
                if _has(item.copy.destination, need.blob):
                    need.home = item.copy.destination.repository
                    break
        if need.home is not None:
            self._ledger.record(need.registry, need.blob.digest, need.home)
        else:
            need.origin = _origin(need)


def _origin(need: Need) -> str | None:
    """A source of the blob in the very registry that has to have it.

    Whether who may write to the registry may read it there is not known.
    """
    for item in need.items:
        source, destination = item.copy.source, item.copy.destination
        if (
            source.registry == destination.registry
            and source.repository != destination.repository
            and isinstance(destination, base.Mounts)
        ):
            return source.repository
    return None


def _has(store: base.ReadableStore, blob: Descriptor) -> bool:
    """Whether a repository has a blob; one that lets nobody look has not.

    What is wrong with it is the failure of the images that go there.
    """
    try:
        return store.exists(blob)
    except errors.AccessDenied:
        return False


def _named(store: base.ReadableStore, tag: str) -> Descriptor | None:
    """What the tag names, or None."""
    try:
        return store.resolve(tag)
    except errors.NotFound:
        return None


def _root(copy: Copy, current: Descriptor | None) -> Descriptor:
    """What is to be copied.

    Where the destination has nothing to compare with, the manifest will be
    needed: one request brings it with its digest.
    """
    if current is None and isinstance(copy.source, base.ReadsAhead):
        return copy.source.resolve_ahead(copy.reference)
    return copy.source.resolve(copy.reference)


def _holds(copy: Copy, root: Descriptor) -> bool:
    """Whether the destination has all of it that is wanted."""
    destination = copy.destination
    if not isinstance(destination, base.ChecksGraph):
        # A registry promises the parts of an image, but it may take an index
        # without all of its images.
        if root.media_type not in mediatypes.INDEXES:
            return True
        return graphs.has_images(destination, root, copy.only)
    if not copy.only:
        return destination.holds(root)
    try:
        wanted = graphs.walk(destination, root, only=copy.only)
    except errors.NotFound:
        return False
    return all(map(destination.exists, wanted.blobs))
