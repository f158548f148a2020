"""The use case: delete content that is no longer in use."""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.heat import environment, parameters
from imageprep_client.observer import Observer
from imageprep_client.registries import keep, reading
from imageprep_client.registries.graph import Closure, RepositoryGraph
from imageprep_client.registries.registry import Registry
from imageprep_client.stores import base
from imageprep_client.stores.stored_files import KeepsFiles, StoredFile
from imageprep_client.transfer.workers import Workers


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """One request to prune.

    :ivar environment_files: heat environments; what a parameter of any of
        them names is kept, also where a later one has another value for it:
        they may be those of several deployments.
    :ivar keep_last: the number of newest tags to keep in each repository.
    :ivar dry_run: find out what would go, and delete nothing.
    """

    environment_files: Sequence[str] = ()
    keep_last: int = 0
    dry_run: bool = False
    concurrency: int = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted:
    """A tag or content that is deleted, or would be.

    :ivar name: a tag; or the digest of what no tag led to.
    :ivar size: bytes that its deletion frees; content that a later row
        shares counts there.
    """

    repository: str
    name: str
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class PruneResult:
    """The result of a pruning.

    :ivar rows: sorted by repository, tags before digests.
    :ivar kept: how many tags are left.
    :ivar collected: whether the space is free now; otherwise the registry
        frees it when it collects its garbage.
    :ivar failures: why the rest was not deleted.
    """

    rows: Sequence[Deleted]
    kept: int
    collected: bool
    failures: Sequence[errors.ImagePrepError] = ()

    @property
    def size(self) -> int:
        return sum(row.size for row in self.rows)


#: Opens the registry, with the credentials of the environments.
OpenRegistry = Callable[[parameters.PrepareParameters], Registry]


def prune(
    request: PruneRequest,
    *,
    open_registry: OpenRegistry,
    is_here: Callable[[Registry, str], bool],
    observer: Observer,
) -> PruneResult:
    """Delete images that no environment names and that are not the newest.

    Tags go first, then manifests, then blobs, so whatever is still tagged is
    whole at any moment. A registry is asked to delete manifests; its blobs
    are for its own garbage collection.

    :param is_here: whether a registry is the one that a reference names.
    :raises InvalidArgument: when nothing would be kept.
    :raises StoreError: nothing was deleted; also if another run writes.
    :raises CombinedFailure: the same, of several refusals.
    :raises PartialFailure: a tree could not be written to in the middle.
    """
    if not request.environment_files and not request.keep_last:
        raise errors.InvalidArgument(
            "nothing says what to keep, so everything would be deleted",
            hint="name the environments in use with -e, or use --keep-last",
        )
    layers = [environment.load(path) for path in request.environment_files]
    merged = environment.merge(layers)
    registry = open_registry(parameters.parse(merged))
    # Merged values may be in none of the files alone.
    environments = [merged, *(environment.merge([layer]) for layer in layers)]
    names = keep.named(environments, functools.partial(is_here, registry))
    if not isinstance(registry, KeepsFiles):
        plan = _plan(registry, request, names, observer)
        return _from_registry(plan, request)
    if request.dry_run:
        if writer := registry.lock_owner():
            _busy(f"a run writes to {registry} ({writer})")
        return _result(
            _plan(registry, request, names, observer), collected=True
        )
    registry.check_writable()
    with registry.lock(_busy):
        plan = _plan(registry, request, names, observer)
        try:
            _from_files(plan, registry)
        except errors.StoreError as error:
            raise errors.PartialFailure(
                "not everything was deleted", [error]
            ) from error
    return _result(plan, collected=True)


def _busy(what: str) -> None:
    raise errors.StoreError(
        f"{what}: nothing was deleted",
        hint="prune again when the run has ended",
    )


@dataclasses.dataclass(slots=True)
class _Doomed:
    """The content to delete from one repository.

    :ivar manifests: digests, parents before their children.
    :ivar rows: the digests that each row is about, the row's name first.
    """

    graph: RepositoryGraph
    tags: list[str]
    manifests: list[str]
    files: list[StoredFile]
    rows: dict[str, list[str]]
    sizes: dict[str, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class _Plan:
    doomed: Sequence[_Doomed]
    kept: int


def _plan(
    registry: Registry,
    request: PruneRequest,
    names: keep.Names,
    observer: Observer,
) -> _Plan:
    """The content to delete, with the bytes of each row."""
    graphs: dict[str, RepositoryGraph] = {}
    kept: dict[str, Closure] = {}
    for graph, newest in _read(registry, request, observer):
        graphs[graph.name] = graph
        wanted = {*names.get(graph.name, ()), *newest}
        kept[graph.name] = keep.closure(graph, wanted)
    _check_sanity(request, registry, graphs, names, kept)
    doomed = [_doomed(graph, kept[name]) for name, graph in graphs.items()]
    if isinstance(registry, KeepsFiles):
        _weigh_files(doomed)
    else:
        _warn_of_left(graphs.values(), observer)
        _weigh_names(doomed, [kept[d.graph.name].manifests for d in doomed])
    left = sum(len(d.graph.tags) - len(d.tags) for d in doomed)
    return _Plan(doomed, left)


def _read(
    registry: Registry, request: PruneRequest, observer: Observer
) -> list[tuple[RepositoryGraph, list[str]]]:
    """All repositories, each with its newest tags; sorted by name."""
    names = (
        registry.repositories_on_disk()
        if isinstance(registry, KeepsFiles)
        else registry.repositories()
    )
    count = request.keep_last
    with Workers(request.concurrency, keep_going=False) as workers:
        graphs = reading.read_all(registry, names, workers, observer)
        made = keep.times(graphs, count, workers) if count else {}
    return [
        (graph, keep.newest(graph, made, count) if count else [])
        for graph in graphs
    ]


def _check_sanity(
    request: PruneRequest,
    registry: Registry,
    graphs: Mapping[str, RepositoryGraph],
    names: keep.Names,
    kept: Mapping[str, Closure],
) -> None:
    """Refuse to delete everything, for example for a wrong host name."""
    if request.keep_last or any(
        closure.tags or closure.manifests for closure in kept.values()
    ):
        return
    if any(graph.tags or graph.manifests for graph in graphs.values()):
        count = sum(map(len, names.values()))
        raise errors.InvalidArgument(
            f"{', '.join(request.environment_files)}: nothing that is named"
            f" there is in {registry} ({count} names looked for), so all of"
            " it would be deleted",
            hint="give the environment that names the images in use",
        )


def _doomed(graph: RepositoryGraph, kept: Closure) -> _Doomed:
    """The content to delete from a repository, all but `kept`."""
    going = [tag for tag in graph.tags if tag not in kept.tags]
    if graph.stored_files is None:
        # Registries have no way, or no common one, to remove a tag alone.
        deletable = graph.manifests.keys() - kept.manifests
        going = [tag for tag in going if graph.tags[tag] in deletable]
    roots = [graph.tags[tag] for tag in going]
    order = graph.below([*roots, *_roots(graph)])
    doomed = [digest for digest in order if digest not in kept.manifests]
    doomed.sort(key=_height(graph), reverse=True)
    named = graph.names(kept.manifests) | kept.manifests
    files = [stored for stored in graph.contents if stored.digest not in named]
    rows: dict[str, list[str]] = {}
    told: set[str] = set()
    for tag, root in zip(going, roots, strict=True):
        rows[tag] = _row(graph, graph.below([root]), named, told)
    for digest in doomed:
        if digest not in told:
            rows[digest] = _row(graph, graph.below([digest]), named, told)
    for stored in files:
        if stored.digest not in told:
            told.add(stored.digest)
            rows[stored.digest] = [stored.digest]
    return _Doomed(graph, going, doomed, files, rows)


def _warn_of_left(
    graphs: Iterable[RepositoryGraph], observer: Observer
) -> None:
    """Warn about tags of a registry that cannot be deleted."""
    for graph in graphs:
        for tag, digest in graph.tags.items():
            if digest not in graph.manifests:
                why = graph.broken.get(tag) or graph.broken.get(
                    digest, "unknown"
                )
                observer.warning(
                    f"{graph.store}:{tag}: cannot be understood ({why}), so"
                    " it is left"
                )


def _roots(graph: RepositoryGraph) -> list[str]:
    """Manifests that no index names, sorted."""
    children = {
        child.digest
        for manifest in graph.manifests.values()
        for child in manifest.manifests
    }
    return sorted(graph.manifests.keys() - children)


def _height(graph: RepositoryGraph) -> Callable[[str], int]:
    """The number of levels of manifests below one."""

    @functools.cache
    def height(digest: str) -> int:
        manifest = graph.manifests.get(digest)
        children = manifest.manifests if manifest else ()
        return 1 + max((height(c.digest) for c in children), default=0)

    return height


def _row(
    graph: RepositoryGraph,
    below: Iterable[str],
    kept: Iterable[str],
    told: set[str],
) -> list[str]:
    """The digests that go with these manifests and were not told of."""
    digests = [
        digest
        for digest in (*below, *sorted(graph.names(below)))
        if digest not in kept and digest not in told
    ]
    digests = list(dict.fromkeys(digests))
    told.update(digests)
    return digests


def _weigh_files(doomed: Sequence[_Doomed]) -> None:
    """Count the bytes of files with the row that has their last link."""
    going: collections.Counter[Hashable] = collections.Counter()
    for part in doomed:
        by_digest: dict[str, list[StoredFile]] = {}
        for stored in part.files:
            by_digest.setdefault(stored.digest, []).append(stored)
        for row, digests in part.rows.items():
            part.sizes[row] = 0
            for stored in (h for d in digests for h in by_digest.get(d, ())):
                going[stored.storage] += 1
                if going[stored.storage] == stored.links:
                    part.sizes[row] += stored.size


def _weigh_names(
    doomed: Sequence[_Doomed], kept: Sequence[frozenset[str]]
) -> None:
    """Count the bytes that no kept manifest of any repository names."""
    told: set[str] = set()
    for part, manifests in zip(doomed, kept, strict=True):
        told |= manifests | part.graph.names(manifests)
    for part in doomed:
        sizes = {b.digest: b.size for b in part.graph.blobs}
        for digest, manifest in part.graph.manifests.items():
            sizes[digest] = manifest.descriptor.size
        for row, digests in part.rows.items():
            fresh = [d for d in digests if d not in told]
            told.update(fresh)
            part.sizes[row] = sum(sizes.get(d, 0) for d in fresh)


def _from_files(plan: _Plan, registry: KeepsFiles) -> None:
    """Delete from a tree, each step on the disk before the next."""
    for part in plan.doomed:
        store = part.graph.store
        if isinstance(store, base.Untags):
            for tag in part.tags:
                store.untag(tag)
    registry.flush()
    for wanted in (True, False):
        for part in plan.doomed:
            stored_files = registry.stored_files(part.graph.name)
            order = {d: n for n, d in enumerate(part.manifests)}
            for stored in sorted(
                part.files, key=lambda h: order.get(h.digest, 0)
            ):
                if stored.is_manifest is wanted:
                    stored_files.discard(stored)
        registry.flush()
    for part in plan.doomed:
        registry.stored_files(part.graph.name).tidy()
    registry.flush()


def _from_registry(plan: _Plan, request: PruneRequest) -> PruneResult:
    """Delete manifests of a registry, parents before their children.

    Artifacts follow their images. Manifests that the registry refuses to
    delete, such as those of immutable tags, are left with all that is kept
    with them. Without access, which 404 may hide, a repository is left alone.
    """
    if request.dry_run:
        return _result(plan, collected=False)
    done: set[tuple[str, str]] = set()
    left: set[tuple[str, str]] = set()
    denied: dict[str, errors.ImagePrepError] = {}
    failures: list[errors.ImagePrepError] = []

    def one(step: tuple[RepositoryGraph, str]) -> None:
        graph, digest = step
        if graph.name in denied:
            return
        try:
            _delete(graph, digest)
        except (errors.AccessDenied, errors.NotFound) as error:
            is_denied = isinstance(error, errors.AccessDenied)
            if is_denied or graph.store.exists(graph.descriptors[digest]):
                denied.setdefault(graph.name, error)
                return
        except errors.Refused as error:
            if error.status == 405:
                # The registry is not set up to delete anything.
                raise
            failures.append(error)
            kept = graph.closure([digest]).manifests
            left.update((graph.name, each) for each in kept)
            return
        done.add((graph.name, digest))

    levels: dict[tuple[int, int], list[tuple[RepositoryGraph, str]]] = {}
    for part in plan.doomed:
        height, depths = _height(part.graph), part.graph.depths()
        for digest in part.manifests:
            level = depths.get(digest, 0), -height(digest)
            levels.setdefault(level, []).append((part.graph, digest))
    with Workers(request.concurrency, keep_going=False) as workers:
        for _, steps in sorted(levels.items()):
            wanted = [s for s in steps if (s[0].name, s[1]) not in left]
            failed = [error for _, error in workers.each(one, wanted)]
            failures += failed[:1]
            if failed:
                break
    failures = sorted([*failures, *denied.values()], key=str)
    if not failures:
        return _result(plan, collected=False)
    if not done and len(failures) == 1:
        raise failures[0]
    if not done:
        raise errors.CombinedFailure("nothing was deleted", failures)
    # What is left needs its blobs.
    _weigh_names(
        plan.doomed,
        [
            frozenset(d for d in g.manifests if (g.name, d) not in done)
            for g in (part.graph for part in plan.doomed)
        ],
    )
    return _result(plan, collected=False, done=done, failures=failures)


def _delete(graph: RepositoryGraph, digest: str) -> None:
    if not isinstance(graph.store, base.Deletes):
        raise errors.StoreError(f"{graph.store}: nothing can be deleted there")
    graph.store.delete(graph.descriptors[digest])


def _result(
    plan: _Plan,
    *,
    collected: bool,
    done: set[tuple[str, str]] | None = None,
    failures: Sequence[errors.ImagePrepError] = (),
) -> PruneResult:
    rows: list[Deleted] = []
    kept = plan.kept
    for part in plan.doomed:
        tags = part.graph.tags
        for row in part.rows:
            if done is None or (part.graph.name, tags.get(row, row)) in done:
                rows.append(Deleted(part.graph.name, row, part.sizes[row]))
            elif row in tags:
                kept += 1
    return PruneResult(rows, kept, collected, failures)
