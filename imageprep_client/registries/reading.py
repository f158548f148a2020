"""Reading the graphs of repositories."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Sequence

from imageprep_client import errors, retry
from imageprep_client.observer import Observer, Phase
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.registries.graph import (
    MISSING,
    UNSUPPORTED,
    RepositoryGraph,
    problem,
)
from imageprep_client.registries.registry import Registry
from imageprep_client.stores import base
from imageprep_client.stores.stored_files import KeepsFiles
from imageprep_client.transfer import graph as images
from imageprep_client.transfer.workers import Workers

# More than any real repository has: a bound for hostile ones.
_MAX_MANIFESTS = 100_000
#: Bytes of all manifests of a registry; parsed they take some times as much.
MAX_BYTES = 512 * 1024 * 1024


def read_all(
    registry: Registry,
    names: Iterable[str],
    workers: Workers,
    observer: Observer,
) -> list[RepositoryGraph]:
    """Read tags and manifests of repositories; blobs are not opened.

    The observer is told if the registry refuses to list referrers.

    :returns: one graph per repository, sorted by name.
    :raises StoreError: if the content cannot be determined.
    """
    budget = images.Budget(MAX_BYTES, str(registry))
    readers = [
        _Reader(registry, name, registry.store(name), budget)
        for name in sorted(set(names))
    ]
    observer.phase(Phase.READ, len(readers))
    _run(readers, workers, observer)
    refusals = [reader.refusal for reader in readers if reader.refusal]
    if refusals:
        observer.warning(
            f"{refusals[0]}; artifacts that only such a list names are left"
            f" out in {len(refusals)} of {len(readers)} repositories"
        )
    return [reader.graph() for reader in readers]


def read_parents(store: base.Store, workers: Workers) -> RepositoryGraph:
    """Read one repository, but only manifests that may name others.

    These are all if the store lists its manifests, otherwise only indexes.

    :raises StoreError: also when a manifest cannot be read for a reason that
        may pass.
    """
    name = store.repository
    budget = images.Budget(MAX_BYTES, name)
    reader = _Reader(None, name, store, budget, parents=True)
    _run([reader], workers, Observer())
    return reader.graph()


def _run(
    readers: Sequence[_Reader], workers: Workers, observer: Observer
) -> None:
    steps: list[_Step] = []

    def one(step: _Step) -> Sequence[_Step]:
        further = step.reader.take(step)
        if step.reader.settle(len(further)):
            observer.advanced(Phase.READ)
        return further

    failures = workers.each(
        lambda step: steps.extend(one(step)),
        [_Step(reader) for reader in readers],
    ) or workers.each_ahead(one, steps, lambda step: step.reader.request(step))
    for _, error in failures:
        raise error


@dataclasses.dataclass(frozen=True, slots=True)
class _Step:
    """One thing to ask of a repository.

    :ivar tag: to resolve.
    :ivar descriptor: of a manifest to read.
    :ivar subject: a manifest whose referrers to list. Without any of these,
        the repository is listed.
    """

    reader: _Reader
    tag: str | None = None
    descriptor: Descriptor | None = None
    subject: Descriptor | None = None


class _Reader:
    """Reads one repository, step by step.

    :param parents: as for `read_parents`.
    :ivar refusal: why a list of referrers is not available, or empty.
    """

    def __init__(
        self,
        registry: Registry | None,
        name: str,
        store: base.Store,
        budget: images.Budget,
        *,
        parents: bool = False,
    ) -> None:
        self._name = name
        self._store = store
        self._budget = budget
        self._stored_files = (
            registry.stored_files(name)
            if isinstance(registry, KeepsFiles)
            else None
        )
        self._ahead = store if isinstance(store, base.ReadsAhead) else None
        self._digests = store if isinstance(store, base.TellsDigests) else None
        self._lists = store if isinstance(store, base.ListsManifests) else None
        self._referrers = (
            store
            if isinstance(store, base.ListsReferrers) and not self._lists
            else None
        )
        self._prefetches = (
            store if isinstance(store, base.Prefetches) else None
        )
        self._parents = parents
        if parents:
            self._ahead = self._referrers = self._prefetches = None
        self.refusal = ""
        self._lock = threading.Lock()
        self._open = 1
        self._tags: dict[str, str] = {}
        self._descriptors: dict[str, Descriptor] = {}
        self._manifests: dict[str, Manifest] = {}
        self._broken: dict[str, str] = {}

    def settle(self, further: int) -> bool:
        """Count a step as done that makes `further` ones possible.

        :returns: whether it was the last.
        """
        with self._lock:
            self._open += further - 1
            return self._open == 0

    def request(self, step: _Step) -> base.Prefetched | None:
        """Request what `take` will read, where the store can."""
        if self._prefetches is None:
            return None
        if step.subject is not None:
            return self._prefetches.prefetch_referrers(step.subject)
        wanted = step.descriptor or step.tag
        return self._prefetches.prefetch(wanted) if wanted else None

    def take(self, step: _Step) -> list[_Step]:
        """Take one step; returns those that it makes possible."""
        if step.tag is not None:
            return self._resolve(step.tag)
        if step.descriptor is not None:
            return self._read(step.descriptor)
        if step.subject is not None:
            return self._new(self._referring_to(step.subject))
        # Tags first: what they name was there before them.
        steps = [_Step(self, tag=tag) for tag in tags(self._store)]
        if self._lists:
            steps += self._new(self._lists.manifests())
        return steps

    def _resolve(self, tag: str) -> list[_Step]:
        resolve = self._ahead.resolve_ahead if self._ahead else None
        try:
            root = (resolve or self._store.resolve)(tag)
        except errors.StoreError as error:
            why = self._why(error)
            digest = ""
            if self._digests and isinstance(error, errors.InvalidContent):
                digest = self._digests.digest_of(tag)
            with self._lock:
                self._tags[tag] = digest
                self._broken[tag] = why
            return []
        with self._lock:
            self._tags[tag] = root.digest
        steps = self._new([root])
        if not (self._ahead and steps):
            return steps
        # The manifest has come with its digest.
        return [further for step in steps for further in self.take(step)]

    def _why(self, error: errors.StoreError, *, lasting: bool = False) -> str:
        """The problem that an error tells, as in `RepositoryGraph.broken`.

        :param lasting: whether wrong content is known to stay wrong.
        :raises StoreError: the error, when it says nothing about the content.
        """
        if not self._parents or isinstance(error, errors.NotFound):
            return problem(error)
        lasting = lasting or not retry.may_pass(error)
        if isinstance(error, errors.InvalidContent) and lasting:
            return str(error)
        raise error

    def _new(self, descriptors: Iterable[Descriptor]) -> list[_Step]:
        """Steps for the manifests that were not known."""
        steps = []
        for descriptor in descriptors:
            with self._lock:
                if descriptor.digest in self._descriptors:
                    continue
                if len(self._descriptors) >= _MAX_MANIFESTS:
                    raise errors.InvalidContent(
                        f"{self._store}: more than {_MAX_MANIFESTS} manifests"
                    )
                if not descriptor.is_manifest:
                    # A list of referrers may have manifests of other kinds.
                    self._broken[descriptor.digest] = UNSUPPORTED
                    continue
                self._descriptors[descriptor.digest] = descriptor
            steps.append(_Step(self, descriptor=descriptor))
        return steps

    def _read(self, descriptor: Descriptor) -> list[_Step]:
        """Read a manifest; the steps for its children and referrers."""
        digest = descriptor.digest
        parent = self._lists or descriptor.media_type in mediatypes.INDEXES
        if self._parents and not parent:
            return []
        try:
            manifest = images.fetch_manifest(self._store, descriptor)
        except errors.StoreError as error:
            why = self._why(error, lasting=True)
            with self._lock:
                self._broken[digest] = why
            return []
        self._budget.spend(manifest.descriptor.size)
        children = []
        with self._lock:
            # Nothing is written again: what was parsed is enough.
            self._manifests[digest] = dataclasses.replace(
                manifest, content=b""
            )
            for child in manifest.manifests:
                if child.is_manifest:
                    children.append(child)
                else:
                    self._broken[child.digest] = UNSUPPORTED
        if self._parents:
            # Children of an index need not be here, and tags name the others.
            return []
        steps = self._new(children)
        if self._referrers is not None:
            steps.append(_Step(self, subject=descriptor))
        return steps

    def _referring_to(self, subject: Descriptor) -> Sequence[Descriptor]:
        if self._referrers is None:
            return ()
        try:
            return self._referrers.referrers(subject)
        except errors.NotFound:
            return ()
        except errors.AccessDenied as error:
            self.refusal = str(error)
            return ()
        except errors.ServerFault as error:
            if error.temporary and not error.isolated:
                raise
            self.refusal = str(error)
            return ()
        except errors.InvalidContent as error:
            with self._lock:
                self._broken[f"referrers/{subject.digest}"] = problem(error)
            return ()

    def graph(self) -> RepositoryGraph:
        """The graph, when all steps are done."""
        elsewhere = self._elsewhere()
        broken = {
            name: why
            for name, why in self._broken.items()
            if name not in elsewhere
        }
        return RepositoryGraph(
            name=self._name,
            store=self._store,
            stored_files=self._stored_files,
            tags=dict(sorted(self._tags.items())),
            descriptors={
                digest: descriptor
                for digest, descriptor in sorted(self._descriptors.items())
                if digest not in self._broken
                or (self._parents and self._broken[digest] != MISSING)
            },
            manifests=dict(sorted(self._manifests.items())),
            broken=broken,
            elsewhere=elsewhere,
            contents=tuple(self._stored_files.contents())
            if self._stored_files
            else (),
        )

    def _elsewhere(self) -> frozenset[str]:
        """The children of indexes that were copied in part.

        As long as one child is here, the others are images that nobody
        asked for; an index without any has lost them.
        """
        needed = set(self._tags.values())
        sparse: set[str] = set()
        for manifest in self._manifests.values():
            children = {child.digest for child in manifest.manifests}
            here = children & self._manifests.keys()
            (sparse if here else needed).update(children - here)
        return frozenset(
            digest
            for digest in sparse - needed
            if self._broken.get(digest) == MISSING
        )


def tags(store: base.ReadableStore) -> list[str]:
    """All tags, sorted; none if the repository no longer exists."""
    if not isinstance(store, base.ListsTags):
        return []
    try:
        return sorted(store.tags())
    except errors.NotFound:
        # A repository that lost its last tag may still be in a catalog.
        return []
