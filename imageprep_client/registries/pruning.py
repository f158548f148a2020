"""The use case: delete what nobody names any more."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.heat import environment, parameters
from imageprep_client.observer import Observer, Phase
from imageprep_client.registries import keep
from imageprep_client.registries import repository as repositories
from imageprep_client.registries.registry import Registry
from imageprep_client.registries.repository import Repository
from imageprep_client.stores import base
from imageprep_client.stores.holdings import Held, KeepsFiles
from imageprep_client.transfer import graph
from imageprep_client.transfer.workers import Workers


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PruneRequest:
    """What is asked of a pruning.

    :ivar environment_files: heat environments; what a parameter of any of
        them names is kept, also where a later one has another value for it:
        they may be those of several deployments.
    :ivar keep_last: as many of the newest tags of each repository are kept;
        0: only what the environments name.
    :ivar dry_run: find out what would go, and delete nothing.
    """

    environment_files: Sequence[str] = ()
    keep_last: int = 0
    dry_run: bool = False
    concurrency: int = 8


@dataclasses.dataclass(frozen=True, slots=True)
class Deleted:
    """One thing that is gone, or would be.

    :ivar name: a tag; or the digest of what no tag led to.
    :ivar size: bytes that are free with it; what is shared with something
        named later counts there.
    """

    repository: str
    name: str
    size: int


@dataclasses.dataclass(frozen=True, slots=True)
class PruneResult:
    """What a pruning did.

    :ivar rows: sorted by repository, tags before digests.
    :ivar kept: how many tags are left.
    :ivar collected: whether the space is free now; otherwise the registry
        frees it when it collects its garbage.
    :ivar failure: what ended it before everything was done, or None.
    """

    rows: Sequence[Deleted]
    kept: int
    collected: bool
    failure: errors.ImagePrepError | None = None

    @property
    def size(self) -> int:
        return sum(row.size for row in self.rows)


#: Opens the registry, with the credentials of the environments.
OpenRegistry = Callable[[parameters.PrepareParameters], Registry]


def prune(
    request: PruneRequest,
    *,
    open_registry: OpenRegistry,
    is_here: Callable[[str], bool],
    by_name: bool,
    observer: Observer,
) -> PruneResult:
    """Delete what neither the environments name nor is among the newest.

    Tags go first, then manifests, then blobs, so whatever is still tagged is
    whole at any moment. A registry is asked to delete manifests; its blobs
    are for its own garbage collection.

    :param is_here: whether the registry of a reference is this registry.
    :raises InvalidArgument: when nothing would be kept.
    :raises StoreError: nothing was deleted; also when another run writes.
    """
    if not request.environment_files and not request.keep_last:
        raise errors.InvalidArgument(
            "nothing says what to keep, so everything would be deleted",
            hint="name the environments in use with -e, or use --keep-last",
        )
    layers = [environment.load(path) for path in request.environment_files]
    merged = environment.merge(layers)
    registry = open_registry(parameters.parse(merged))
    # What a strategy puts together is in none of the files alone.
    environments = [merged, *(environment.merge([each]) for each in layers)]
    if isinstance(registry, KeepsFiles) and not by_name:
        names = keep.named(environments, lambda _: True)
    else:
        names = keep.named(environments, is_here)
    if not isinstance(registry, KeepsFiles):
        plan = _plan(registry, request, names, observer)
        return _from_registry(plan, request)
    if request.dry_run:
        if writer := registry.holder():
            _busy(f"a run writes to {registry} ({writer})")
        return _result(
            _plan(registry, request, names, observer), collected=True
        )
    registry.check_writable()
    with registry.lock(_busy):
        plan = _plan(registry, request, names, observer)
        _from_files(plan, registry)
    return _result(plan, collected=True)


def _busy(what: str) -> None:
    raise errors.StoreError(
        f"{what}: nothing was deleted",
        hint="prune again when the run has ended",
    )


@dataclasses.dataclass(slots=True)
class _Doomed:
    """What goes from one repository.

    :ivar manifests: digests, parents before their children.
    :ivar rows: the digests that each row is about, the row's name first.
    """

    repository: Repository
    tags: list[str]
    manifests: list[str]
    files: list[Held]
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
    """What goes, with the bytes of each row; nothing is changed."""
    found: dict[str, Repository] = {}
    kept: dict[str, tuple[frozenset[str], frozenset[str]]] = {}
    for each, newest in _read(registry, request, observer):
        found[each.name] = each
        wanted = {*names.get(each.name, ()), *newest}
        kept[each.name] = keep.closure(each, wanted)
    _check_sanity(request, registry, found, names, kept)
    by_files = isinstance(registry, KeepsFiles)
    if not by_files:
        for each in found.values():
            _warn_of_left(each, observer)
    doomed = [
        _doomed(each, *kept[name], by_files=by_files)
        for name, each in found.items()
    ]
    if by_files:
        _weigh_files(doomed)
    else:
        _weigh_names(doomed, [kept[d.repository.name][1] for d in doomed])
    left = sum(len(d.repository.tags) - len(d.tags) for d in doomed)
    return _Plan(doomed, left)


def _read(
    registry: Registry, request: PruneRequest, observer: Observer
) -> list[tuple[Repository, list[str]]]:
    """All repositories, each with its newest tags; sorted by name."""
    names = (
        registry.homes()
        if isinstance(registry, KeepsFiles)
        else registry.repositories()
    )
    observer.phase(Phase.READ, len(names))
    found: dict[str, tuple[Repository, list[str]]] = {}
    budget = graph.Budget(repositories.MAX_BYTES, str(registry))

    def one(name: str) -> None:
        each = repositories.read(registry, name, budget)
        count = request.keep_last
        found[name] = each, keep.newest(each, count) if count else []
        observer.advanced(Phase.READ)

    with Workers(request.concurrency, keep_going=False) as workers:
        for _, error in workers.each(one, names):
            raise error
    return [found[name] for name in sorted(found)]


def _check_sanity(
    request: PruneRequest,
    registry: Registry,
    found: Mapping[str, Repository],
    names: keep.Names,
    kept: Mapping[str, tuple[frozenset[str], frozenset[str]]],
) -> None:
    """Refuse to delete everything because of, say, a wrong host name."""
    if request.keep_last or any(any(parts) for parts in kept.values()):
        return
    if any(each.tags or each.manifests for each in found.values()):
        count = sum(map(len, names.values()))
        raise errors.InvalidArgument(
            f"{', '.join(request.environment_files)}: nothing that is named"
            f" there is in {registry} ({count} names looked for), so all of"
            " it would be deleted",
            hint="give the environment that names the images in use",
        )


def _doomed(
    each: Repository,
    tags: frozenset[str],
    manifests: frozenset[str],
    *,
    by_files: bool,
) -> _Doomed:
    """What goes from a repository of which these are kept."""
    going = [tag for tag in sorted(each.tags) if tag not in tags]
    if not by_files:
        # Registries have no way, or no common one, to remove a tag alone.
        deletable = each.manifests.keys() - manifests
        going = [tag for tag in going if each.tags[tag] in deletable]
    roots = [each.tags[tag] for tag in going]
    order = each.below([*roots, *_roots(each)])
    doomed = [digest for digest in order if digest not in manifests]
    doomed.sort(key=_height(each), reverse=True)
    named = each.names(manifests) | manifests
    files = [held for held in each.contents if held.digest not in named]
    rows: dict[str, list[str]] = {}
    told: set[str] = set()
    for tag, root in zip(going, roots, strict=True):
        rows[tag] = _row(each, each.below([root]), named, told)
    for digest in doomed:
        if digest not in told:
            rows[digest] = _row(each, each.below([digest]), named, told)
    for held in files:
        if held.digest not in told:
            told.add(held.digest)
            rows[held.digest] = [held.digest]
    return _Doomed(each, going, doomed, files, rows)


def _warn_of_left(each: Repository, observer: Observer) -> None:
    """Name the tags of a registry that nothing can be done about."""
    for tag, digest in sorted(each.tags.items()):
        if digest not in each.manifests:
            why = each.broken.get(tag) or each.broken.get(digest, "unknown")
            observer.warning(
                f"{each.store}:{tag}: cannot be understood ({why}), so it is"
                " left"
            )


def _roots(each: Repository) -> list[str]:
    """Manifests that no index names, sorted."""
    children = {
        child.digest
        for manifest in each.manifests.values()
        for child in manifest.manifests
    }
    return sorted(each.manifests.keys() - children)


def _height(each: Repository) -> Callable[[str], int]:
    """How many levels of manifests are below one."""

    @functools.cache
    def height(digest: str) -> int:
        manifest = each.manifests.get(digest)
        children = manifest.manifests if manifest else ()
        return 1 + max((height(c.digest) for c in children), default=0)

    return height


def _row(
    each: Repository,
    below: Iterable[str],
    kept: Iterable[str],
    told: set[str],
) -> list[str]:
    """The digests that go with these manifests and were not told of."""
    found = [
        digest
        for digest in (*below, *sorted(each.names(below)))
        if digest not in kept and digest not in told
    ]
    found = list(dict.fromkeys(found))
    told.update(found)
    return found


def _weigh_files(doomed: Sequence[_Doomed]) -> None:
    """Count the bytes of files with the row that has their last link."""
    going: collections.Counter[Hashable] = collections.Counter()
    for each in doomed:
        by_digest: dict[str, list[Held]] = {}
        for held in each.files:
            by_digest.setdefault(held.digest, []).append(held)
        for row, digests in each.rows.items():
            each.sizes[row] = 0
            for held in (h for d in digests for h in by_digest.get(d, ())):
                going[held.storage] += 1
                if going[held.storage] == held.links:
                    each.sizes[row] += held.size


def _weigh_names(
    doomed: Sequence[_Doomed], kept: Sequence[frozenset[str]]
) -> None:
    """Count the bytes of what no kept manifest of any repository names."""
    told: set[str] = set()
    for each, manifests in zip(doomed, kept, strict=True):
        told |= manifests | each.repository.names(manifests)
    for each in doomed:
        sizes = {b.digest: b.size for b in each.repository.blobs}
        for digest, manifest in each.repository.manifests.items():
            sizes[digest] = manifest.descriptor.size
        for row, digests in each.rows.items():
            fresh = [d for d in digests if d not in told]
            told.update(fresh)
            each.sizes[row] = sum(sizes.get(d, 0) for d in fresh)


def _from_files(plan: _Plan, registry: KeepsFiles) -> None:
    """Delete from a tree, each step on the disk before the next."""
    for each in plan.doomed:
        store = each.repository.store
        if isinstance(store, base.Untags):
            for tag in each.tags:
                store.untag(tag)
    registry.flush()
    for wanted in (True, False):
        for each in plan.doomed:
            holdings = registry.holdings(each.repository.name)
            order = {d: n for n, d in enumerate(each.manifests)}
            for held in sorted(
                each.files, key=lambda h: order.get(h.digest, 0)
            ):
                if held.is_manifest is wanted:
                    holdings.discard(held)
        registry.flush()
    for each in plan.doomed:
        registry.holdings(each.repository.name).tidy()
    registry.flush()


def _from_registry(plan: _Plan, request: PruneRequest) -> PruneResult:
    """Have a registry delete manifests, parents before their children."""
    if request.dry_run:
        return _result(plan, collected=False)
    done: set[tuple[str, str]] = set()

    def one(each: _Doomed) -> None:
        for digest in each.manifests:
            with contextlib.suppress(errors.NotFound):
                _delete(each.repository, digest)
            done.add((each.repository.name, digest))

    with Workers(request.concurrency, keep_going=False) as workers:
        failures = workers.each(one, plan.doomed)
    if not failures:
        return _result(plan, collected=False)
    failure = failures[0][1]
    if not done:
        raise failure
    return _result(plan, collected=False, done=done, failure=failure)


def _delete(each: Repository, digest: str) -> None:
    if not isinstance(each.store, base.Deletes):
        raise errors.StoreError(f"{each.store}: nothing can be deleted there")
    each.store.delete(each.manifests[digest].descriptor)


def _result(
    plan: _Plan,
    *,
    collected: bool,
    done: set[tuple[str, str]] | None = None,
    failure: errors.ImagePrepError | None = None,
) -> PruneResult:
    rows = [
        Deleted(each.repository.name, row, each.sizes[row])
        for each in plan.doomed
        for row in each.rows
        if done is None
        or (each.repository.name, each.repository.tags.get(row, row)) in done
    ]
    return PruneResult(rows, plan.kept, collected, failure)
