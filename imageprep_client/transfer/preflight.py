"""The content that copies need: resolved, walked and located, not moved."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Collection, Sequence

from imageprep_client import errors
from imageprep_client.observer import BlobOutcome, ImageOutcome, Phase
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.stores import base
from imageprep_client.transfer import attached as attachments
from imageprep_client.transfer import graph as graphs
from imageprep_client.transfer import nearest
from imageprep_client.transfer.copies import (
    BlobCopy,
    BlobState,
    Copy,
    ImageCopy,
    Located,
    Missing,
    MountFrom,
    ResolvedTag,
    Unprobed,
)
from imageprep_client.transfer.image_time import ImageTime
from imageprep_client.transfer.run import CopyRun
from imageprep_client.transfer.workers import Workers

#: Repositories of a registry that are asked for a blob before it counts as
#: missing.
_LOOKS = 3
#: Bytes of the manifests of all images of a run: they are kept until they
#: are written.
_MAX_BYTES = 256 * 1024 * 1024


class Preflight:
    """Determines, in several threads, which content copies need.

    :ivar images: one per copy, in their order.
    :ivar blobs: the unique blobs per destination registry, largest and most
        shared first.
    """

    def __init__(
        self, copies: Sequence[Copy], run: CopyRun, workers: Workers
    ) -> None:
        self.images = [ImageCopy(copy) for copy in copies]
        self.blobs: list[BlobCopy] = []
        self._workers = workers
        self._observer = run.observer
        self._known = run.known
        self._checks = run.checks
        self._answers = run.answers
        # Nothing is pushed then that would find out what a registry lacks.
        self._probes_all = run.dry_run
        self._lock = threading.Lock()
        self._noted: set[str] = set()
        # Repositories that have the blobs of images that are present.
        self._present: dict[tuple[str, str], str] = {}
        self._budget = graphs.Budget(_MAX_BYTES, "all images of this run")

    def run(self) -> None:
        """Run the preflight; failures are in the images' `error`."""
        self._observer.phase(Phase.RESOLVE, len(self.images))
        # All missing images are reported together.
        failures = self._workers.each(
            self._resolve, self.images, tolerate=errors.NotFound
        )
        if failures and not self._workers.keep_going:
            self._workers.stop()
        self.blobs = self._group()
        self._observer.phase(Phase.LOCATE, len(self.blobs))
        for blob, error in self._workers.each(self._locate, self.blobs):
            for image in blob.images:
                image.fail("look for a blob", "destination", error)
        self._observer.bytes_expected(self.bytes_missing)

    @property
    def bytes_missing(self) -> int:
        """Bytes of blobs that have to travel."""
        return sum(b.blob.size for b in self.blobs if b.travels)

    def check_space(self) -> None:
        """Compare the missing bytes with the free space.

        :raises NoSpace: when they cannot fit; nothing has been written then.
        """
        missing: dict[str, int] = {}
        measures: dict[str, base.MeasuresSpace] = {}
        for blob in self.blobs:
            space = blob.images[0].powers.measures_space
            if blob.location is None and space:
                measures[blob.registry] = space
                missing[blob.registry] = (
                    missing.get(blob.registry, 0) + blob.blob.size
                )
        for registry, needed in missing.items():
            free = measures[registry].free_space()
            if needed > free:
                raise errors.NoSpace(
                    f"{registry}: {needed} bytes needed, {free} bytes free",
                    needed=needed,
                    free=free,
                    hint="free some space, or choose another destination",
                )

    def estimate(self) -> None:
        """Set the sizes of the images to those that a run would report."""
        for blob in self.blobs:
            by_repository = blob.by_repository()
            outcomes = dict.fromkeys(by_repository, BlobOutcome.MOUNTED)
            if blob.location in outcomes:
                outcomes[blob.location] = BlobOutcome.PRESENT
            elif blob.travels and outcomes:
                outcomes[next(iter(outcomes))] = BlobOutcome.COPIED
            for repository, images in by_repository.items():
                images[0].sizes[outcomes[repository]] += blob.blob.size

    def _resolve(self, image: ImageCopy) -> None:
        """Determine the content of an image that has to be copied."""
        self._observer.image_started(image.copy.name)
        with image.timed():
            self._find_out(image)

    def _find_out(self, image: ImageCopy) -> None:
        copy, ask = image.copy, self._answers.get
        where = (copy.source.registry, copy.source.repository)
        with image.blame("resolve", "destination"):
            image.current = _current(image)
        with image.blame("resolve", "source"):
            root = copy.descriptor or ask(
                (*where, copy.reference), lambda: _root(image)
            )
        # The manifest of an index says which image of it is wanted.
        one = isinstance(copy.platforms, graphs.OnePlatform)
        is_manifest = root.media_type in mediatypes.MANIFESTS
        if is_manifest:
            self._admit(image, [root])
        if is_manifest or not (one or copy.admission):
            self._compare(image, root)
            if image.outcome:
                return
        with image.blame("read manifest", "source"):
            image.graph = ask(
                (*where, root.digest, copy.platforms, copy.nondistributable),
                lambda: graphs.walk(
                    copy.source,
                    root,
                    copy.platforms,
                    known=self._known,
                    external=copy.nondistributable,
                ),
            )
        image.root = image.graph.root.descriptor
        if not is_manifest:
            self._admit(image, [m.descriptor for m in image.graph.manifests])
        if image.root != root or (copy.admission and not is_manifest):
            self._compare(image, image.root)
        if not image.outcome:
            self._note_external(image, image.graph)
            self._note_platforms(image, image.graph)
            with image.blame("read what is attached", "source"):
                graph, policy = image.graph, copy.referrers
                image.attached = ask(
                    (*where, root.digest, copy.platforms, policy),
                    lambda: attachments.find(
                        copy.source, graph, self._note, policy=policy
                    ),
                )
        with image.blame("read manifest", "source"):
            self._budget.spend(sum(graph.weight for graph in image.graphs))

    def _note_external(self, image: ImageCopy, graph: graphs.Graph) -> None:
        layers = {x.digest for m in graph.manifests for x in m.external}
        if left := layers - graph.digests:
            self._note(
                f"{image.copy.name}: non-distributable layers are left at"
                f" their URLs ({len(left)}); --nondistributable copies them"
            )

    def _note_platforms(self, image: ImageCopy, graph: graphs.Graph) -> None:
        """Tell of platforms that were asked for and have no image."""
        wanted = image.copy.platforms
        if not isinstance(wanted, graphs.SomePlatforms):
            return
        known, asked = graph.platforms, wanted.platforms
        if not graph.root.is_index:
            # What is no image has no platform.
            with contextlib.suppress(errors.StoreError):
                config = graphs.fetch_config(
                    image.copy.source, graph.root, self._known
                )
                known = [Platform(config.os or "", config.architecture or "")]
            asked = tuple(Platform(p.os, p.architecture) for p in asked)
        missing = [
            str(platform)
            for platform, plain in zip(wanted.platforms, asked, strict=True)
            if not any(own.matches(plain) for own in known)
        ]
        if missing and any(own.architecture for own in known):
            own = ", ".join(map(str, known))
            self._note(
                f"{image.copy.name}: is for {own}, not {' or '.join(missing)}"
            )

    def _note(self, text: str) -> None:
        """Send a note once, however many images cause it."""
        with self._lock:
            told = text in self._noted
            self._noted.add(text)
        if not told:
            self._observer.note(text)

    def _admit(
        self, image: ImageCopy, manifests: Sequence[Descriptor]
    ) -> None:
        """Check that the image may be copied, before anything is written."""
        admission, source = image.copy.admission, image.copy.source
        if admission is not None:
            asked = (id(admission), *(m.digest for m in manifests))
            with image.blame("check the signature policy", "source"):
                image.accepted = self._answers.get(
                    asked, lambda: admission.admit(source, manifests)
                )

    def _compare(self, image: ImageCopy, root: Descriptor) -> None:
        """Finish an image that the destination has, complete and tagged."""
        current = image.current
        if current is None or current.digest != root.digest:
            return
        with image.blame("check", "destination"):
            if not _holds(image, current) or not self._is_whole(
                image, current
            ):
                return
        image.root = current
        for blob in self._known_blobs(image, root):
            image.sizes[BlobOutcome.PRESENT] += blob.size
            self._present[image.registry, blob.digest] = image.repository
        image.finish(ImageOutcome.PRESENT)
        self._observer.image_finished(image.copy.name, ImageOutcome.PRESENT)

    def _known_blobs(
        self, image: ImageCopy, root: Descriptor
    ) -> Collection[Descriptor]:
        """The blobs of an image that is present.

        No registry is asked for them: none where they are not known.
        """
        store = image.copy.destination if image.powers.flushes else None
        try:
            content = graphs.walk(
                store, root, image.copy.platforms, known=self._known
            )
        except errors.StoreError:
            return ()
        return content.blobs

    def _is_whole(self, image: ImageCopy, root: Descriptor) -> bool:
        """Whether the destination has all content of an image.

        A registry may have lost content after it accepted the manifest, so an
        image that was not complete recently is checked. Stores do not check
        non-distributable layers themselves.
        """
        checks = self._checks
        external = image.copy.nondistributable
        if not external and (
            checks is None
            or image.powers.checks_graph
            or checks.is_fresh(image.key, root.digest)
        ):
            return True
        store = image.copy.destination
        try:
            content = graphs.walk(
                store,
                root,
                image.copy.platforms,
                known=self._known,
                external=external,
            )
            is_whole = all(map(store.exists, content.blobs))
        except errors.NotFound:
            is_whole = False
        except errors.AccessDenied:
            # Without access to the content, the manifest counts.
            return True
        if is_whole and checks:
            checks.note(image.key, root.digest)
        if not is_whole:
            self._note(f"{image.key}: content is missing; it is copied again")
        return is_whole

    def _group(self) -> list[BlobCopy]:
        """The unique blobs of all images, per destination registry."""
        blobs: dict[tuple[str, str], BlobCopy] = {}
        for image in self.images:
            if image.error:
                continue
            for blob in image.blobs.values():
                key = (image.registry, blob.digest)
                blobs.setdefault(key, BlobCopy(blob, [])).images.append(image)
        return sorted(
            blobs.values(), key=lambda b: (-b.blob.size, -len(b.images))
        )

    def _locate(self, copy: BlobCopy) -> None:
        """Find out whether the destination has the blob, anywhere."""
        with ImageTime.shared([image.time for image in copy.images]):
            copy.state = self._probed(copy)
        if copy.location is None and (repository := self._mount_from(copy)):
            copy.state = MountFrom(repository)

    def _mount_from(self, copy: BlobCopy) -> str | None:
        """A repository of the destination registry that has the blob."""
        if copy.images[0].powers.mounts is None:
            return None
        for image in copy.images:
            source = image.copy.made_from or image.copy.source
            if (
                source.registry == image.registry
                and source.repository != image.repository
            ):
                return source.repository
        return self._present.get((copy.registry, copy.blob.digest))

    def _probed(self, copy: BlobCopy) -> BlobState:
        powers = copy.images[0].powers
        if powers.locates:
            repository = powers.locates.locate(copy.blob)
            return Missing() if repository is None else Located(repository)
        # Blobs may well be in a repository that has the tag already.
        holders = _holders(copy)
        likely = [
            image
            for image in copy.images
            if image.current or image.repository in holders
        ]
        # A small one is pushed as quickly as it is looked for.
        pushed = not likely or copy.blob.size <= base.SMALL
        if pushed and powers.begins_pushes and not self._probes_all:
            return Unprobed()
        for image in (likely or copy.images)[: _LOOKS if likely else 1]:
            if _has(image.copy.destination, copy.blob):
                return Located(image.repository)
        return MountFrom(holders[0]) if holders else Missing()


def _holders(copy: BlobCopy) -> list[str]:
    """Repositories of the destination that have a blob which sources lack."""
    holders: dict[str, None] = {}
    for image in copy.images:
        leaves_out = image.source_powers.leaves_out
        below = image.copy.source.repository
        if leaves_out and image.repository.endswith(below):
            prefix = image.repository.removesuffix(below)
            for name in leaves_out.left_out(copy.blob):
                holders[f"{prefix}{name}"] = None
    return list(holders)


def _has(store: base.ReadableStore, blob: Descriptor) -> bool:
    """Whether a repository has a blob; False without permission.

    A permanent refusal shows when the blob is pushed.
    """
    try:
        return store.exists(blob)
    except errors.AccessDenied:
        return False


def _current(image: ImageCopy) -> Descriptor | None:
    """The manifest that the destination's tag names, or None.

    A store of this host is asked again, as it is locked only now.
    """
    copy = image.copy
    if copy.tag is None:
        return None
    if copy.current is None or image.powers.flushes:
        return ResolvedTag.of(copy.destination, copy.tag).get()
    return copy.current.get()


def _root(image: ImageCopy) -> Descriptor:
    """The manifest to copy.

    If the destination has no such tag, the manifest is needed anyway, and one
    request fetches it with its digest.
    """
    ahead = image.source_powers.reads_ahead
    source, reference = image.copy.source, image.copy.reference
    if image.current is None and ahead:
        return nearest.hinted(source, reference, ahead.resolve_ahead)
    return nearest.resolve(source, reference)


def _holds(image: ImageCopy, root: Descriptor) -> bool:
    """Whether the destination has all of the image that is wanted."""
    destination, platforms = image.copy.destination, image.copy.platforms
    checks = image.powers.checks_graph
    if checks is None:
        # A registry promises the parts of an image, but it may take an index
        # without all of its images.
        if root.media_type not in mediatypes.INDEXES:
            return True
        return graphs.has_images(destination, root, platforms)
    if not isinstance(platforms, graphs.SomePlatforms):
        return checks.holds(root)
    try:
        wanted = graphs.walk(destination, root, platforms)
    except errors.NotFound:
        return False
    return all(map(destination.exists, wanted.blobs))
