"""Transfers of blobs to destinations, each once per registry."""

from __future__ import annotations

import contextlib
import dataclasses
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.observer import BlobOutcome, Phase
from imageprep_client.stores import base
from imageprep_client.transfer.copies import (
    BlobCopy,
    ImageCopy,
    Located,
    Missing,
    MountFrom,
    Transferred,
    Unprobed,
)
from imageprep_client.transfer.fanout import Passed
from imageprep_client.transfer.image_time import ImageTime
from imageprep_client.transfer.run import CopyRun
from imageprep_client.transfer.stream import SideError, Streams
from imageprep_client.transfer.workers import LOCAL, Workers

# A few streams of large blobs keep a link or disk busy. Small blobs cost round
# trips, which only many concurrent transfers hide.
_STREAM, _REQUEST, _LINK = "stream", "request", "link"
_LANES = {_STREAM: 12, _REQUEST: sys.maxsize, _LINK: LOCAL}


@dataclasses.dataclass(frozen=True, slots=True)
class _Bring:
    """Transfer a blob to one repository of the registry."""

    copy: BlobCopy

    @property
    def lane(self) -> str:
        return _lane(self.copy, streams=self.copy.location is None)


@dataclasses.dataclass(frozen=True, slots=True)
class _Spread:
    """Mount a blob of the registry into another repository.

    :ivar images: those that need it there, some of which may fail before.
    """

    copy: BlobCopy
    images: Sequence[ImageCopy]

    @property
    def lane(self) -> str:
        return _LINK if self.images[0].powers.flushes else _REQUEST


@dataclasses.dataclass(frozen=True, slots=True)
class _Send:
    """Send a blob again, to a repository that cannot mount it.

    :ivar images: those that need it there.
    """

    copy: BlobCopy
    images: Sequence[ImageCopy]

    @property
    def lane(self) -> str:
        return _lane(self.copy)


@dataclasses.dataclass(frozen=True, slots=True)
class _Later:
    """Transfer a blob after it was sent to the other destinations."""

    copy: BlobCopy

    @property
    def lane(self) -> str:
        return _lane(self.copy)


_Step = _Bring | _Spread | _Send | _Later


def _lane(copy: BlobCopy, *, streams: bool = True) -> str:
    large = copy.blob.size > base.SMALL
    return _STREAM if streams and large else _REQUEST


class BlobTransfers:
    """Transfers the blobs of a run."""

    def __init__(self, run: CopyRun, workers: Workers) -> None:
        self._workers = workers
        self._observer = run.observer
        self._lock = threading.Lock()
        self._fanout = run.fanout
        self._streams = Streams(run, workers)
        # Registries that probably mount only blobs of images, as one of them
        # did not find a repository that has the blob, and what waits for one.
        self._mounts_of_images: set[str] = set()
        self._postponed: list[_Spread] = []
        self._postpones = True
        self._left = sys.maxsize

    def run(self, blobs: Iterable[BlobCopy]) -> None:
        """Transfer each blob once, and mount it where else it is needed.

        Failures are in the images' `error`.
        """
        copies = [copy for copy in blobs if not copy.failed]
        self._observer.phase(Phase.BLOBS, len(copies))
        self._perform([_Bring(copy) for copy in copies])

    def resume(self) -> bool:
        """Mount blobs that waited for the image of another repository.

        They are sent if no image was completed since the last time.

        :returns: whether there were any.
        """
        steps, self._postponed = self._postponed, []
        images = {image for step in steps for image in step.copy.images}
        left = sum(map(_is_unfinished, images))
        self._postpones = left < self._left
        self._left = left
        if steps:
            self._observer.phase(Phase.BLOBS, len(steps))
        self._perform(steps)
        return bool(steps)

    def ready(self, images: Iterable[ImageCopy]) -> list[ImageCopy]:
        """The images that no blob waits for."""
        waiting: dict[tuple[str, str], set[str]] = {}
        for step in self._postponed:
            place = step.copy.registry, step.images[0].repository
            waiting.setdefault(place, set()).add(step.copy.blob.digest)
        return [
            image
            for image in images
            if not (digests := waiting.get((image.registry, image.repository)))
            or digests.isdisjoint(image.blobs)
        ]

    def _perform(self, steps: Sequence[_Step]) -> None:
        self._workers.each(
            self._step, steps, lane=lambda step: step.lane, lanes=_LANES
        )

    def _step(self, step: _Step) -> Sequence[_Step]:
        """Perform a step; returns those that follow from it."""
        if isinstance(step, _Bring | _Later):
            return self._bring_shared(step)
        images = [i for i in step.images if i.needs(step.copy.blob)]
        if not images:
            return []
        try:
            with _timed(images):
                if isinstance(step, _Send):
                    self._send(step.copy, images[0])
                    return []
                return self._take_over(step.copy, images)
        except SideError as error:
            optional = [self._leave(step.copy, i, error) for i in images]
            if all(optional):
                return []
            raise error.cause from error

    def _bring_shared(self, step: _Bring | _Later) -> Sequence[_Step]:
        """Transfer a blob, by the stream of all destinations if possible."""
        copy, fanout = step.copy, self._fanout
        if fanout is None:
            self._bring(copy)
            return self._spread(copy)
        if isinstance(step, _Later):
            fanout.wait(copy.blob.digest, copy.registry, self._workers.check)
        store: base.Store | None = None
        try:
            self._bring(copy)
            if isinstance(copy.state, Transferred):
                store = copy.holder.copy.destination
        except Passed:
            return [_Later(copy)]
        except BaseException:
            fanout.settle(copy.blob.digest, copy.registry, None)
            raise
        fanout.settle(copy.blob.digest, copy.registry, store)
        return self._spread(copy)

    def _bring(self, copy: BlobCopy) -> None:
        """Transfer a blob to one repository.

        If a repository refuses it, only the images of that repository fail,
        and the next repository is tried.
        """
        failure: SideError | None = None
        while copy.location is None:
            waiting = copy.waiting
            if not waiting:
                break
            try:
                with _timed(waiting):
                    self._bring_to(copy, waiting[0])
            except SideError as error:
                own = error.origin == "destination"
                refused = own and not error.cause.given_up
                repository = waiting[0].repository
                lacking = [
                    image
                    for image in waiting
                    if image.repository == repository or not refused
                ]
                optional = [self._leave(copy, i, error) for i in lacking]
                if all(optional):
                    continue
                failure = error
                if not self._workers.keep_going:
                    break
        if failure and not (copy.location and self._workers.keep_going):
            raise failure.cause from failure

    def _leave(
        self, copy: BlobCopy, image: ImageCopy, error: SideError
    ) -> bool:
        """Continue without a blob that is not available.

        :returns: whether the image can do without it.
        """
        artifacts = image.lacks(
            copy.blob, error.operation, error.origin, error.cause
        )
        for digest in artifacts or ():
            self._observer.note(
                f"{image.copy.name}: artifact {digest} stays behind:"
                f" {error.cause}"
            )
        return artifacts is not None

    def _bring_to(self, copy: BlobCopy, image: ImageCopy) -> None:
        """Transfer a blob to the repository of this image."""
        repository = image.repository
        if isinstance(copy.state, MountFrom):
            if self._mount(copy, image, copy.state.repository):
                copy.state = Transferred(repository)
                self._done(copy, image, BlobOutcome.MOUNTED)
                return
            # A registry that does not mount has begun a push instead.
            copy.state = Missing()
            self._observer.bytes_expected(copy.blob.size)
        if isinstance(copy.state, Unprobed) and self._begin(copy, image):
            copy.state = Located(repository)
            self._observer.blob_finished(copy.blob, BlobOutcome.PRESENT)
            return
        self._streams.move(copy, image)
        copy.state = Transferred(repository)
        self._done(copy, image, BlobOutcome.COPIED)

    def _mount(
        self, copy: BlobCopy, image: ImageCopy, repository: str | None
    ) -> bool:
        """Whether the blob could be mounted from another repository.

        Some registries fail to mount a blob that they accept as an upload.
        """
        if image.powers.mounts is None:
            return False
        with _blamed("mount blob"):
            try:
                return image.powers.mounts.mount(copy.blob, repository)
            except errors.NotFound:
                self._mounts_of_images.add(copy.registry)
                return False
            except (errors.AccessDenied, errors.ServerFault):
                return False

    def _begin(self, copy: BlobCopy, image: ImageCopy) -> bool:
        """Begin a push; returns whether the destination has the blob."""
        if image.powers.begins_pushes is None:
            return False
        with _blamed("push blob"):
            exists = image.powers.begins_pushes.begin(copy.blob)
        if exists:
            self._observer.bytes_expected(-copy.blob.size)
        return exists

    def _spread(self, copy: BlobCopy) -> list[_Spread]:
        """The steps for the other repositories that need the blob."""
        others = copy.by_repository()
        own = others.pop(copy.location or "", None)
        if own and isinstance(copy.state, Located):
            self._count(copy, own[0], BlobOutcome.PRESENT)
        return [_Spread(copy, images) for images in others.values()]

    def _take_over(
        self, copy: BlobCopy, images: Sequence[ImageCopy]
    ) -> list[_Send]:
        """Mount a blob into one repository, or return the step to send it.

        Pulp mounts a blob only after the image that it was pushed for. The
        step is postponed then.
        """
        image = images[0]
        if self._postpone(copy, images):
            return []
        if self._mount(copy, image, copy.location):
            self._done(copy, image, BlobOutcome.MOUNTED)
            return []
        if self._postpone(copy, images):
            return []
        with _blamed("mount blob"):
            exists = image.copy.destination.exists(copy.blob)
        if exists:
            self._done(copy, image, BlobOutcome.PRESENT)
            return []
        self._observer.bytes_expected(copy.blob.size)
        return [_Send(copy, images)]

    def _postpone(self, copy: BlobCopy, images: Sequence[ImageCopy]) -> bool:
        """Postpone a mount, if it will probably succeed later."""
        is_early = copy.registry in self._mounts_of_images and any(
            holder.repository == copy.location and _is_unfinished(holder)
            for holder in copy.images
        )
        if not (is_early and self._postpones):
            return False
        with self._lock:
            self._postponed.append(_Spread(copy, images))
        return True

    def _send(self, copy: BlobCopy, image: ImageCopy) -> None:
        self._streams.move(copy, image, alone=True)
        self._done(copy, image, BlobOutcome.COPIED)

    def _done(
        self, copy: BlobCopy, image: ImageCopy, outcome: BlobOutcome
    ) -> None:
        self._count(copy, image, outcome)
        self._observer.blob_finished(copy.blob, outcome)

    def _count(
        self, copy: BlobCopy, image: ImageCopy, outcome: BlobOutcome
    ) -> None:
        with self._lock:
            image.sizes[outcome] += copy.blob.size


def _is_unfinished(image: ImageCopy) -> bool:
    return bool(image.graphs) and image.error is None


@contextlib.contextmanager
def _timed(images: Sequence[ImageCopy]) -> Iterator[None]:
    """Count and bound the block as working time of these images."""
    try:
        with ImageTime.shared([image.time for image in images]):
            yield
    except errors.OutOfTime as error:
        raise SideError("copy blob", "destination", error) from error


@contextlib.contextmanager
def _blamed(operation: str) -> Iterator[None]:
    """Turn an error of the destination within the block into `SideError`."""
    try:
        yield
    except errors.StoreError as error:
        raise SideError(operation, "destination", error) from error
