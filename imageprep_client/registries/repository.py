"""One repository as it is: tags, manifests, blobs, and what names what."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.registries.registry import Registry
from imageprep_client.stores import base
from imageprep_client.stores.holdings import Held, Holdings, KeepsFiles
from imageprep_client.transfer import graph

MISSING = "missing"
CORRUPT = "corrupt"
WRONG_SIZE = "wrong size"
UNREADABLE = "unreadable"

# More than any real repository has; what goes on past it wants to exhaust
# whoever reads it.
_MAX_MANIFESTS = 100_000
#: Bytes of all manifests of a registry; parsed they take some times as much.
MAX_BYTES = 512 * 1024 * 1024
#: What says that nothing can be found out, not that one thing is broken.
_ACCESS = (
    errors.AccessDenied,
    errors.Unreachable,
    errors.TooManyRequests,
    errors.InputError,
)


def problem(error: errors.StoreError) -> str:
    """What an error says about the content that was asked for.

    :raises StoreError: the error, when it says nothing about the content.
    """
    if isinstance(error, _ACCESS):
        raise error
    if isinstance(error, errors.NotFound):
        return MISSING
    if isinstance(error, errors.SizeMismatch):
        return WRONG_SIZE
    if isinstance(error, errors.InvalidContent):
        return CORRUPT
    return UNREADABLE


@dataclasses.dataclass(frozen=True, slots=True)
class Repository:
    """What was read of one repository.

    :ivar holdings: its files; None where only names can be asked for.
    :ivar tags: the digest that each tag names; empty where it names none.
    :ivar manifests: all that could be read, by digest.
    :ivar broken: the manifests and tags that could not, and why.
    :ivar elsewhere: children of indexes that have others here: images for
        platforms that were not copied.
    :ivar contents: the files, whole or broken; empty without holdings.
    """

    name: str
    store: base.Store
    holdings: Holdings | None
    tags: Mapping[str, str]
    manifests: Mapping[str, Manifest]
    broken: Mapping[str, str]
    elsewhere: frozenset[str]
    contents: Sequence[Held]

    @property
    def blobs(self) -> dict[Descriptor, None]:
        """All blobs that manifests need, each once, in a stable order."""
        return {
            blob: None
            for manifest in self.manifests.values()
            for blob in manifest.blobs
        }

    def below(self, roots: Iterable[str]) -> dict[str, None]:
        """The digests of manifests that these lead to, themselves included.

        Parents come before their children; what is not here is left out.
        """
        found: dict[str, None] = {}
        todo = list(roots)[::-1]
        while todo:
            digest = todo.pop()
            manifest = self.manifests.get(digest)
            if digest in found or manifest is None:
                continue
            found[digest] = None
            todo.extend(child.digest for child in manifest.manifests[::-1])
        return found

    def names(self, digests: Iterable[str]) -> set[str]:
        """Everything that these manifests name: children and blobs.

        Layers that somebody else distributes are named, too.
        """
        found: set[str] = set()
        for manifest in (self.manifests[digest] for digest in digests):
            parts = (*manifest.manifests, *manifest.layers)
            found.update(part.digest for part in parts)
            if manifest.config:
                found.add(manifest.config.digest)
        return found


def read(
    registry: Registry, name: str, budget: graph.Budget | None = None
) -> Repository:
    """Read the tags and manifests of one repository; blobs are not opened.

    :param budget: shared by all repositories that are kept in memory.
    :raises StoreError: when nothing can be found out.
    """
    holdings = (
        registry.holdings(name) if isinstance(registry, KeepsFiles) else None
    )
    budget = budget or graph.Budget(MAX_BYTES, name)
    reader = _Reader(registry.store(name), budget)
    reader.run()
    return Repository(
        name=name,
        store=reader.store,
        holdings=holdings,
        tags=reader.tags,
        manifests=reader.manifests,
        broken=reader.broken,
        elsewhere=frozenset(reader.elsewhere),
        contents=tuple(holdings.contents()) if holdings else (),
    )


class _Reader:
    """Reads one repository."""

    def __init__(self, store: base.Store, budget: graph.Budget) -> None:
        self.store = store
        self._budget = budget
        self.tags: dict[str, str] = {}
        self.manifests: dict[str, Manifest] = {}
        self.broken: dict[str, str] = {}
        self.elsewhere: set[str] = set()

    def run(self) -> None:
        # Tags first: what they name was there before them.
        for tag in _tags(self.store):
            try:
                root = self.store.resolve(tag)
            except errors.StoreError as error:
                self.tags[tag] = ""
                self.broken[tag] = problem(error)
            else:
                self.tags[tag] = root.digest
                self._take([root])
        if isinstance(self.store, base.ListsManifests):
            self._take(self.store.manifests())
        else:
            self._take_referrers()
        self._judge_children()

    def _take(self, found: Iterable[Descriptor]) -> None:
        """Read manifests and those below them."""
        todo = list(found)
        while todo:
            descriptor = todo.pop()
            digest = descriptor.digest
            if digest in self.manifests or digest in self.broken:
                continue
            if len(self.manifests) >= _MAX_MANIFESTS:
                raise errors.InvalidContent(
                    f"{self.store}: more than {_MAX_MANIFESTS} manifests"
                )
            try:
                manifest = graph.fetch_manifest(self.store, descriptor)
            except errors.StoreError as error:
                self.broken[digest] = problem(error)
                continue
            self._budget.spend(manifest.descriptor.size)
            # Nothing is written again: what was parsed is enough.
            manifest = dataclasses.replace(manifest, content=b"")
            self.manifests[digest] = manifest
            for child in manifest.manifests:
                if child.is_manifest:
                    todo.append(child)
                else:
                    self.broken[child.digest] = CORRUPT

    def _take_referrers(self) -> None:
        """Read what refers to manifests, and what refers to that."""
        if not isinstance(self.store, base.ListsReferrers):
            return
        asked: set[str] = set()
        while fresh := [d for d in self.manifests if d not in asked]:
            asked.update(fresh)
            for digest in fresh:
                subject = self.manifests[digest].descriptor
                try:
                    self._take(self.store.referrers(subject))
                except errors.NotFound:
                    continue
                except errors.InvalidContent as error:
                    self.broken[f"referrers/{digest}"] = problem(error)

    def _judge_children(self) -> None:
        """Tell an index that was copied in part from one that lost parts.

        As long as one child is here, the others are images that nobody
        asked for.
        """
        needed = set(self.tags.values())
        sparse: set[str] = set()
        for manifest in self.manifests.values():
            children = {child.digest for child in manifest.manifests}
            here = children & self.manifests.keys()
            (sparse if here else needed).update(children - here)
        self.elsewhere = {
            digest
            for digest in sparse - needed
            if self.broken.get(digest) == MISSING
        }
        for digest in self.elsewhere:
            del self.broken[digest]


def _tags(store: base.ReadableStore) -> list[str]:
    """All tags, sorted; none where there is no repository any more."""
    if not isinstance(store, base.ListsTags):
        return []
    try:
        return sorted(store.tags())
    except errors.NotFound:
        return []
