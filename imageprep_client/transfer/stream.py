"""The transfer of one blob from a source to a destination."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from imageprep_client import deadlines, errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.transfer import resume
from imageprep_client.transfer.copies import BlobCopy, ImageCopy
from imageprep_client.transfer.fanout import Passed
from imageprep_client.transfer.run import CopyRun
from imageprep_client.transfer.workers import Cancelled, Workers

# A blob whose upload was interrupted is fetched again from its source: the
# transport cannot send a stream twice, and learns only at the end whether its
# content is right. Requests that the transport gave up are not repeated.
_POLICY = RetryPolicy(base=0.1, cap=5.0, few=2)
_SOURCES = 4


class SideError(Exception):
    """A failure, and the side that it came from.

    :ivar operation: the operation that failed.
    :ivar origin: the side that failed.
    :ivar cause: the reason.
    """

    def __init__(
        self,
        operation: str,
        origin: errors.Origin,
        cause: errors.ImagePrepError,
    ) -> None:
        super().__init__(operation)
        self.operation = operation
        self.origin = origin
        self.cause = cause

    @contextlib.contextmanager
    def replaced(self) -> Iterator[None]:
        """Attribute `OutOfTime` within the block to the same side."""
        try:
            yield
        except errors.OutOfTime as over:
            raise SideError(self.operation, self.origin, over) from over


class Streams:
    """Transfers blobs, and repeats the transfer after an interruption."""

    def __init__(self, run: CopyRun, workers: Workers) -> None:
        self._workers = workers
        self._observer = run.observer
        self._known = run.known
        self._fanout = run.fanout

    def move(
        self, copy: BlobCopy, image: ImageCopy, *, alone: bool = False
    ) -> None:
        """Move a blob to the repository of an image.

        When a source fails, the next one is tried. Destinations that received
        the blob in this run come before its sources.

        :param alone: read the source for this image only. A stream of all
            destinations has one reader in each.
        :raises SideError: from the last try.
        :raises Passed: when other destinations are being sent the blob, and
            this one cannot join them.
        :raises Cancelled: when the run is stopping.
        """
        last: SideError | None = None
        held = self._fanout.holders(copy.blob.digest) if self._fanout else []
        for source in [
            *(_Source(store, None) for store in held),
            *(
                _Source(i.copy.source, i.source_powers.fetches_from, not alone)
                for i in copy.sources[:_SOURCES]
            ),
        ]:
            attempts = _POLICY.begin()
            while True:
                self._workers.check()
                try:
                    return self._move_once(copy.blob, source, image)
                except SideError as error:
                    if isinstance(error.cause, Passed):
                        raise error.cause from error
                    last = error
                    pause = attempts.pause(error.cause)
                    with error.replaced():
                        deadlines.check(pause or 0.0, error.cause)
                    if pause is None:
                        break
                self._workers.pause(pause)
            if last and last.origin == "destination":
                break
        assert last is not None  # noqa: S101 - there is a source
        raise last

    def _move_once(
        self, blob: Descriptor, source: _Source, image: ImageCopy
    ) -> None:
        try:
            content = self._known.open(blob) or self._open(blob, source, image)
        except errors.ImagePrepError as error:
            raise SideError("fetch blob", "source", error) from error
        with content:
            metered = _Metered(content, self._workers, self._observer)
            try:
                image.copy.destination.push(blob, metered)
            except errors.ImagePrepError as error:
                self._observer.bytes_copied(-metered.count)
                if isinstance(error, Cancelled):
                    raise
                if metered.error is not None:
                    raise SideError(
                        "fetch blob", "source", metered.error
                    ) from error
                raise SideError("push blob", "destination", error) from error

    def _open(
        self, blob: Descriptor, source: _Source, image: ImageCopy
    ) -> base.Content:
        if self._fanout is not None and source.is_shared:
            store = source.store
            return self._fanout.open(
                blob, image.registry, str(store), lambda: store.fetch(blob)
            )
        return resume.fetch(
            blob, source.store, source.fetches_from, image.powers.keeps_partial
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Source:
    """A repository that has the blob.

    :ivar fetches_from: its power to send the rest of a blob.
    :ivar is_shared: whether other destinations read from it as well.
    """

    store: base.ReadableStore
    fetches_from: base.FetchesFrom | None
    is_shared: bool = False


class _Metered(base.Closing):
    """Content that counts the bytes read, and ends when the run stops.

    :ivar count: bytes so far.
    :ivar error: the error of the source, as opposed to the destination.
    """

    def __init__(
        self, content: base.Content, workers: Workers, observer: Observer
    ) -> None:
        # The content may verify the blob already: the push need not.
        self.verifies = getattr(content, "verifies", None)
        self.count = 0
        self.error: errors.ImagePrepError | None = None
        self._content = content
        self._workers = workers
        self._observer = observer

    def read(self, size: int = -1, /) -> bytes:
        self._workers.check()
        try:
            deadlines.check()
            chunk = self._content.read(size)
        except errors.ImagePrepError as error:
            self.error = error
            raise
        self.count += len(chunk)
        self._observer.bytes_copied(len(chunk))
        return chunk

    def close(self) -> None:
        self._content.close()
