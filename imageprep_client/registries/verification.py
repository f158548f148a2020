"""The use case: verify a registry, and find unreferenced content."""

from __future__ import annotations

import dataclasses
import enum
import os
import threading
from collections.abc import Iterable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer, Phase
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.registries import graph as graphs
from imageprep_client.registries import reading
from imageprep_client.registries.graph import (
    MISSING,
    UNSUPPORTED,
    WRONG_SIZE,
    RepositoryGraph,
)
from imageprep_client.registries.registry import Registry
from imageprep_client.stores import base
from imageprep_client.stores.diffids import DiffIdCheck
from imageprep_client.stores.stored_files import (
    KeepsFiles,
    StoredFile,
    StoredFiles,
)
from imageprep_client.stores.verify import VerifiedContent
from imageprep_client.transfer.workers import Workers

UNREFERENCED = "unreferenced"
#: A layer is not the one that the config of its image names.
OTHER_DIFF_ID = "other diff ID"
_BLOB = "application/octet-stream"
_AGAIN = "again with: openstack image-prepare run --recheck"
# Hashing keeps a core busy; a few threads more have the next bytes read.
_HASHERS = 2 * (os.cpu_count() or 1)


class BlobCheck(enum.Enum):
    """The extent to which blobs are checked."""

    #: They exist and have their sizes.
    SIZES = "sizes"
    #: They are read and have their digests.
    DIGESTS = "digests"


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Problem:
    """A problem of a registry.

    :ivar repository: empty for what concerns the whole registry.
    :ivar name: a digest, a tag, or a file below the repository.
    :ivar problem: such as ``corrupt``, ``missing``, ``wrong size`` or
        ``unreferenced``.
    :ivar tags: what cannot be pulled because of it, sorted.
    """

    repository: str
    name: str
    problem: str
    tags: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification.

    :ivar problems: sorted; empty when all is right.
    :ivar manifests: how many were read.
    :ivar blobs: how many different ones there are.
    :ivar size: bytes of those blobs.
    :ivar hashed: whether the blobs were read.
    :ivar elsewhere: how many images of indexes are for platforms that were
        not copied.
    """

    problems: Sequence[Problem]
    repositories: int
    tags: int
    manifests: int
    blobs: int
    size: int
    hashed: bool
    elsewhere: int

    @property
    def remedy(self) -> str | None:
        """How to bring content back; None if none was lost."""
        found = {problem.problem for problem in self.problems}
        if graphs.CORRUPT in found:
            return f"delete the corrupt content, then copy it {_AGAIN}"
        if found & {MISSING, WRONG_SIZE}:
            return f"copy the content {_AGAIN}"
        return None


def verify(
    registry: Registry,
    *,
    blobs: BlobCheck,
    diff_ids: bool = False,
    concurrency: int,
    observer: Observer,
) -> Verdict:
    """Check that all named content exists and has its digest.

    Nothing is written and no lock is needed. Every problem is confirmed by
    a second look, since another run may change content meanwhile. While a
    run writes, unreferenced content is no problem.

    :param diff_ids: decompress the layers of every image, and compare them
        with the diff IDs of its config.
    :raises StoreError: if the content cannot be determined.
    """
    with Workers(concurrency, keep_going=True) as workers:
        work = _Verification(registry, workers, observer)
        return work.run(blobs, diff_ids=diff_ids)


class _Verification:
    """The work of `verify`."""

    def __init__(
        self, registry: Registry, workers: Workers, observer: Observer
    ) -> None:
        self._registry = registry
        self._workers = workers
        self._observer = observer
        self._lock = threading.Lock()

    def run(self, blobs: BlobCheck, *, diff_ids: bool) -> Verdict:
        files = (
            self._registry if isinstance(self._registry, KeepsFiles) else None
        )
        writer = files.lock_owner() if files else ""
        names = (
            files.repositories_on_disk()
            if files
            else self._registry.repositories()
        )
        read, problems = self._look(names, self._observer)
        if others := [name for graph in read for name in graph.unsupported]:
            self._observer.warning(
                "manifests of kinds that are not supported, such as docker"
                f" schema 1, are not verified: {len(others)}, the first is"
                f" {others[0]}"
            )
        problems = self._confirmed(problems, names)
        hashed = blobs is BlobCheck.DIGESTS
        broken = self._hash(read) if hashed else {}
        problems |= self._lost(read, broken, problems)
        if diff_ids:
            wrong = self._compare(read, problems)
            problems |= self._lost(read, wrong, problems)
        writer = writer or (files.lock_owner() if files else "")
        if writer:
            self._observer.warning(
                f"a run writes to {self._registry} ({writer}): what nothing"
                " names yet is not called unreferenced"
            )
            problems = {p for p in problems if p.problem != UNREFERENCED}
        return _verdict(read, problems, hashed=hashed)

    def _look(
        self, names: Iterable[str], observer: Observer
    ) -> tuple[list[RepositoryGraph], set[Problem]]:
        """Read repositories; their problems except those inside of blobs."""
        read = reading.read_all(self._registry, names, self._workers, observer)
        states_by_name: dict[str, dict[str, str]] = {
            graph.name: {
                name: why
                for name, why in graph.broken.items()
                if why != UNSUPPORTED
            }
            for graph in read
        }

        def one(step: tuple[RepositoryGraph, Descriptor]) -> None:
            graph, blob = step
            if state := _state(graph, blob):
                with self._lock:
                    states_by_name[graph.name][blob.digest] = state

        steps = [(graph, blob) for graph in read for blob in graph.blobs]
        self._workers.map(one, steps)
        problems: set[Problem] = set()
        for graph in read:
            states = states_by_name[graph.name]
            if graph.stored_files:
                for digest in _unreferenced(graph):
                    states[digest] = UNREFERENCED
                states.update(
                    (d.name, d.problem) for d in graph.stored_files.defects()
                )
            problems |= _problems(graph, states)
        if isinstance(self._registry, KeepsFiles):
            problems.update(
                Problem("", d.name, d.problem)
                for d in self._registry.defects()
            )
        return read, problems

    def _confirmed(
        self, problems: set[Problem], names: Sequence[str]
    ) -> set[Problem]:
        """The problems of content that has one at a second look, too.

        Requests for unreadable content were repeated already.
        """
        sure = {p for p in problems if p.problem == graphs.UNREADABLE}
        doubtful = {(p.repository, p.name) for p in problems - sure}
        if not doubtful:
            return sure
        wrong = {repository for repository, _ in doubtful}.intersection(names)
        again = self._look(wrong, Observer())[1]
        return sure | {p for p in again if (p.repository, p.name) in doubtful}

    def _lost(
        self,
        read: Sequence[RepositoryGraph],
        broken: Mapping[tuple[str, str], str],
        known: set[Problem],
    ) -> set[Problem]:
        """Problems that reading blobs has found and a second look confirms.

        A deletion may have taken, between the two, an image with its blobs.
        """
        told = {(p.repository, p.name) for p in known}
        wrong: dict[str, dict[str, str]] = {}
        for (name, digest), problem in broken.items():
            if (name, digest) not in told:
                wrong.setdefault(name, {})[digest] = problem
        if not wrong:
            return set()
        graphs_now = {
            graph.name: graph
            for graph in reading.read_all(
                self._registry, wrong, self._workers, Observer()
            )
        }
        problems: set[Problem] = set()
        for graph in read:
            now = graphs_now.get(graph.name)
            if now is None:
                continue
            needed = {blob.digest for blob in now.blobs}
            needed.update(now.file_sizes, now.manifests)
            states = {
                digest: problem
                for digest, problem in wrong[graph.name].items()
                if digest in needed
            }
            problems |= _problems(now, states)
        return problems

    def _hash(
        self, read: Sequence[RepositoryGraph]
    ) -> dict[tuple[str, str], str]:
        """Read every blob once; problems by repository and digest."""
        jobs = _jobs(read)
        self._observer.phase(Phase.HASH, len(jobs))
        self._observer.bytes_expected(sum(job.blob.size for job in jobs))
        broken: dict[tuple[str, str], str] = {}

        def one(job: _Job) -> None:
            problem = job.check(self._workers, self._observer)
            if problem:
                with self._lock:
                    for name in job.repositories:
                        broken[name, job.blob.digest] = problem
            self._observer.advanced(Phase.HASH)

        on_disk = isinstance(self._registry, KeepsFiles)
        most = _HASHERS if on_disk else len(jobs)
        self._workers.map(one, jobs, most=most)
        return broken

    def _compare(
        self, read: Sequence[RepositoryGraph], known: set[Problem]
    ) -> dict[tuple[str, str], str]:
        """Compare layers with diff IDs; problems as from `_hash`."""
        check = DiffIdCheck()
        broken = {(problem.repository, problem.name) for problem in known}
        images = [
            (graph, manifest)
            for graph in read
            for manifest in graph.manifests.values()
            if not any(
                (graph.name, b.digest) in broken for b in manifest.blobs
            )
        ]
        self._observer.phase(Phase.DIFF_IDS, len(images))
        wrong: dict[tuple[str, str], str] = {}

        def one(job: tuple[RepositoryGraph, Manifest]) -> None:
            graph, manifest = job
            digest = manifest.descriptor.digest
            for error in check.mismatches(graph.store, manifest):
                self._observer.warning(f"{graph.name}@{digest}: {error}")
                # The layer can be the right one of other images.
                with self._lock:
                    wrong[graph.name, digest] = OTHER_DIFF_ID
            self._observer.advanced(Phase.DIFF_IDS)

        self._workers.map(one, images)
        return wrong


@dataclasses.dataclass(slots=True)
class _Job:
    """One blob to read.

    :ivar repositories: all that have it; the first is read from.
    """

    blob: Descriptor
    store: base.ReadableStore
    stored_files: StoredFiles | None
    stored: StoredFile | None
    repositories: list[str]

    def check(self, workers: Workers, observer: Observer) -> str:
        """The problem of the blob; empty when there is none.

        Content that seems corrupt is read again: it may have been damaged on
        its way. Requests for what is unreadable were repeated already.
        """
        problem = self._check_once(workers, observer)
        if problem in ("", graphs.UNREADABLE):
            return problem
        return self._check_once(workers, Observer())

    def _check_once(self, workers: Workers, observer: Observer) -> str:
        try:
            with self._open() as content:
                while chunk := content.read(base.CHUNK):
                    workers.check()
                    observer.bytes_copied(len(chunk))
        except errors.StoreError as error:
            return graphs.problem(error)
        return ""

    def _open(self) -> base.Content:
        if self.stored_files and self.stored:
            return VerifiedContent(
                self.stored_files.open(self.stored),
                self.blob,
                self.stored.path,
            )
        return self.store.fetch(self.blob)


def _jobs(read: Iterable[RepositoryGraph]) -> list[_Job]:
    """The blobs to read: files that share storage, and blobs that
    repositories of a registry share, only once; the largest first.
    """
    jobs: dict[object, _Job] = {}
    for graph in read:
        for stored in graph.contents:
            if not stored.is_manifest:
                blob = Descriptor(_BLOB, stored.digest, stored.size)
                job = _Job(blob, graph.store, graph.stored_files, stored, [])
                job = jobs.setdefault((stored.storage, stored.digest), job)
                job.repositories.append(graph.name)
        if graph.stored_files is None:
            for blob in graph.blobs:
                job = _Job(blob, graph.store, None, None, [])
                jobs.setdefault(blob, job).repositories.append(graph.name)
    return sorted(jobs.values(), key=lambda job: -job.blob.size)


def _problems(
    graph: RepositoryGraph, states: Mapping[str, str]
) -> set[Problem]:
    """The problems of a repository, with the tags that they concern."""
    if not states:
        return set()
    tags = _tags_by_name(graph)
    return {
        Problem(graph.name, name, problem, tuple(tags.get(name, ())))
        for name, problem in states.items()
    }


def _unreferenced(graph: RepositoryGraph) -> list[str]:
    """The blobs that no manifest of the repository names.

    None if a manifest cannot be read, since they are not known then.
    """
    if any(problem != MISSING for problem in graph.broken.values()):
        return []
    named = graph.names(graph.manifests)
    return [
        stored.digest
        for stored in graph.contents
        if not stored.is_manifest and stored.digest not in named
    ]


def _state(graph: RepositoryGraph, blob: Descriptor) -> str:
    """The problem of a blob that is visible without reading it, or empty."""
    sizes = graph.file_sizes.get(blob.digest, ())
    try:
        if blob.size in sizes or graph.store.exists(blob):
            return ""
        if graph.stored_files:
            return WRONG_SIZE if sizes else MISSING
        graph.store.fetch(blob).close()
    except errors.StoreError as error:
        return graphs.problem(error)
    return ""


def _tags_by_name(graph: RepositoryGraph) -> dict[str, list[str]]:
    """The tags that need each digest, and each tag itself."""
    needed: dict[str, list[str]] = {}
    for tag, digest in sorted(graph.tags.items()):
        below = graph.below([digest])
        for name in {tag, digest, *below, *graph.names(below)}:
            needed.setdefault(name, []).append(tag)
    return needed


def _verdict(
    read: Sequence[RepositoryGraph],
    problems: Iterable[Problem],
    *,
    hashed: bool,
) -> Verdict:
    blobs: dict[str, int] = {}
    for graph in read:
        blobs.update((b.digest, b.size) for b in graph.blobs)
    return Verdict(
        problems=sorted(problems),
        repositories=len(read),
        tags=sum(len(graph.tags) for graph in read),
        manifests=sum(len(graph.manifests) for graph in read),
        blobs=len(blobs),
        size=sum(blobs.values()),
        hashed=hashed,
        elsewhere=sum(len(graph.elsewhere) for graph in read),
    )
