"""Deletion of one image and of the content that only it needs.

An index names images, an artifact names its subject, and cosign's artifacts
are under tags made of a digest. Content that only the deleted image led to is
deleted with it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Collection, Iterable, Mapping

from imageprep_client import errors, retry
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.oci.referrers import subject_tag, tag_of
from imageprep_client.registries import reading
from imageprep_client.registries.graph import MISSING
from imageprep_client.stores import base
from imageprep_client.transfer import nearest
from imageprep_client.transfer.workers import Workers

_INSTEAD = (
    "unless the registry is read-only, delete these first, or name the image"
    " by its digest to delete the manifest with all its tags"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """The result of a deletion.

    :ivar tags: their names, sorted.
    :ivar manifests: how many manifests and indexes.
    :ivar blobs: how many blobs of this repository; another repository that
        has them keeps them.
    :ivar still: what keeps the manifest, such as other tags; empty when it
        is gone.
    """

    tags: tuple[str, ...]
    manifests: int = 0
    blobs: int = 0
    still: tuple[str, ...] = ()


def remove(
    store: base.Store,
    reference: Reference,
    *,
    observer: Observer,
    concurrency: int,
) -> Removed:
    """Delete a tag, and the manifest when nothing else leads to it.

    A reference by digest alone deletes the manifest with all its tags; one
    with both deletes the tag if it names that digest. Where the store knows
    all its manifests, what was only needed by the manifest goes as well:
    the images of an index, artifacts, blobs. A registry collects that by
    itself.

    :raises NotFound: when it is not there.
    :raises StoreError: when the store cannot do it without deleting what
        was not asked for, or not at all; then nothing was deleted.
    """
    if not isinstance(store, base.Deletes):
        raise errors.StoreError(f"{reference}: nothing can be deleted there")
    known = _Known(store, observer, concurrency)
    by_digest = bool(reference.digest and not reference.tag)
    tag = "" if by_digest else reference.tag or "latest"
    untagged = functools.partial(_untagged, store, reference, tag)
    if tag in known.dangling and untagged("its manifest is not there"):
        return Removed(tags=(tag,))
    try:
        root = nearest.resolve(store, tag or reference.digest)
    except errors.InvalidContent as error:
        if retry.may_pass(error):
            raise
        digest = known.tags.get(tag, "") if tag else reference.digest
        if not digest and not reference.digest and untagged(str(error)):
            return Removed(tags=(tag,))
        if not digest:
            raise
        # No more of it is used than that it is a manifest.
        root = Descriptor(mediatypes.OCI_MANIFEST, digest, 0)
    if reference.digest not in ("", root.digest):
        raise errors.NotFound(
            f"{reference}: the tag names another manifest, {root.digest}"
        )
    leaving = {tag} if tag else known.tags_of(root.digest)
    doomed = known.below({root.digest}, known.tags)
    kept = known.kept(root.digest, doomed, leaving)
    if root.digest not in kept:
        return _delete(store, known, root, doomed - kept, leaving)
    still = known.users(root.digest, kept, leaving)
    needed = f"needed by {', '.join(still)}"
    if tag and untagged(f"its manifest is {needed}", _INSTEAD):
        return Removed(tags=(tag,), still=still)
    raise errors.StoreError(
        f"{reference}: not deleted: it is {needed}", hint="delete that first"
    )


def _untagged(
    store: base.Store,
    reference: Reference,
    tag: str,
    why: str,
    hint: str | None = None,
) -> bool:
    """Remove the tag alone; False if the store has no notion of that.

    :param why: what stands against deleting the manifest with it.
    :param hint: what to do where the store refuses.
    """
    if not isinstance(store, base.Untags):
        return False
    try:
        store.untag(tag)
    except errors.CannotUntag as refusal:
        raise errors.StoreError(
            f"{reference}: not deleted: {why}, and the registry refuses to"
            f" remove the tag alone: {refusal}",
            hint=hint,
        ) from refusal
    return True


def _delete(
    store: base.Deletes,
    known: _Known,
    root: Descriptor,
    gone: set[str],
    leaving: set[str],
) -> Removed:
    """Delete a manifest and, in a store that knows all, what it needed.

    The root is the first: nothing shall be visible that is not whole.
    """
    if not isinstance(store, base.ListsManifests):
        store.delete(root)
        return Removed(tags=tuple(sorted(leaving)), manifests=1)
    tags = {t for t, d in known.tags.items() if d in gone}
    blobs = known.unneeded(gone)
    store.delete(root)
    deleted = 0
    try:
        for digest in sorted(gone - {root.digest}):
            # Another deletion may have been faster.
            with contextlib.suppress(errors.NotFound):
                store.delete(known.descriptors[digest])
        for blob in blobs:
            # Not all of an image need be in a repository.
            with contextlib.suppress(errors.NotFound):
                store.delete(blob)
                deleted += 1
    except errors.StoreError as error:
        raise errors.PartialFailure(
            f"{root.digest}: deleted, but not everything that only it needed",
            [error],
        ) from error
    return Removed(
        tags=tuple(sorted(tags)), manifests=len(gone), blobs=deleted
    )


class _Known:
    """The content of a repository, as far as it tells.

    :ivar tags: digest by tag, where the store tells it.
    :ivar dangling: tags that name nothing.
    """

    def __init__(
        self, store: base.Store, observer: Observer, concurrency: int
    ) -> None:
        with Workers(concurrency, keep_going=False) as workers:
            self._graph = graph = reading.read_parents(store, workers)
        self.tags = {tag: d for tag, d in graph.tags.items() if d}
        self.dangling = {
            tag
            for tag, digest in graph.tags.items()
            if not digest and graph.broken.get(tag) == MISSING
        }
        opaque = {n: w for n, w in graph.broken.items() if w != MISSING}
        for why in opaque.values():
            observer.warning(
                f"{why}: what it needs is not known, so more than the image"
                " itself is not deleted"
            )
        self._opaque = bool(opaque)

    @property
    def descriptors(self) -> Mapping[str, Descriptor]:
        """The manifests, by digest."""
        return self._graph.descriptors

    def below(
        self, digests: Iterable[str], tags: Collection[str], detached: str = ""
    ) -> set[str]:
        """These manifests, and all that they lead to.

        :param tags: those through which an artifact may be found.
        :param detached: a manifest that its subject does not lead to.
        """
        graph = self._graph
        reached: set[str] = set()
        todo = list(digests)
        while todo:
            digest = todo.pop()
            if digest in reached:
                continue
            reached.add(digest)
            todo += graph.below([digest])
            artifacts = graph.artifacts.get(digest, ())
            todo += [name for name in artifacts if name != detached]
            attached = graph.attached_tags.get(tag_of(digest), ())
            todo += [
                self.tags[tag]
                for tag in attached
                if tag in tags and tag in self.tags
            ]
        return reached

    def tags_of(self, digest: str) -> set[str]:
        """The tags that name a manifest."""
        return set(self._graph.tags_by_digest.get(digest, ()))

    def kept(self, root: str, doomed: set[str], leaving: set[str]) -> set[str]:
        """The manifests that the rest of the repository leads to.

        :param root: the manifest that is deleted.
        :param doomed: everything below the manifest that is deleted.
        :param leaving: its tags that are deleted.
        """
        staying = {t: d for t, d in self.tags.items() if t not in leaving}
        subjects = set(map(tag_of, doomed))
        anchors = {
            digest
            for tag, digest in staying.items()
            if subject_tag(tag) not in subjects
        }
        anchors |= self.descriptors.keys() - doomed
        if self._opaque:
            anchors |= doomed - {root}
        return self.below(anchors, staying, detached=root)

    def users(
        self, digest: str, kept: set[str], leaving: set[str]
    ) -> tuple[str, ...]:
        """The users of a manifest, for messages: tags, then manifests."""
        tags = [f"tag {tag}" for tag in self.tags_of(digest) - leaving]
        indexes = [
            f"index {min(self.tags_of(name), default=name)}"
            for name in kept
            if (manifest := self._graph.manifests.get(name))
            and digest in {child.digest for child in manifest.manifests}
        ]
        return (*sorted(tags), *sorted(indexes))

    def unneeded(self, gone: set[str]) -> list[Descriptor]:
        """Blobs that only these manifests name."""
        if self._opaque:
            return []
        mine: dict[str, Descriptor] = {}
        others: set[str] = set()
        for digest, manifest in self._graph.manifests.items():
            blobs = (*manifest.blobs, *manifest.external)
            if digest in gone:
                mine.update((b.digest, b) for b in blobs)
            else:
                others.update(b.digest for b in blobs)
        return [mine[digest] for digest in sorted(set(mine) - others)]
