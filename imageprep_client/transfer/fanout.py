"""One stream of a blob for all destinations that need it.

The fastest destination reads the source; the others read what it read from a
bounded buffer. A destination that delays the others is dropped from the
stream, and gets the blob later from a destination that has it.
"""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable, Collection

from imageprep_client import deadlines, errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base

#: Bytes of one blob, and of all blobs, in buffers for slower destinations.
_WINDOW = 8 * 1024 * 1024
_BUFFER = 96 * 1024 * 1024
#: Seconds for which a destination may delay a stream, fewer after each time it
#: was dropped, and the share of the stream's duration that is added to them.
_GRACE = 1.0
_SHARE = 0.25
#: Drops after which streams do not wait for a destination any more.
_DROPS = 3
#: Seconds that destinations wait for each other before the first blob.
_START = 5.0
_PERIOD = 0.1
#: The same for a destination that another one reads the source for.
_IDLE = 1.0


class Passed(errors.ImagePrepError):
    """The stream of a blob has passed this destination."""


class FanOut:
    """The streams of one run. Safe for use by several threads.

    :param destinations: the registries that are filled.
    """

    def __init__(self, destinations: Collection[str]) -> None:
        self._lock = threading.Lock()
        # Hundreds of threads wait for streams, so each stream has a condition
        # of its own: one for all would wake all of them for every chunk.
        self._begun = threading.Condition(self._lock)
        self._freed = threading.Condition(self._lock)
        self._preparing = set(destinations)
        self._needs: dict[str, set[str]] = {}
        self._streams: dict[str, _Stream] = {}
        self._holders: dict[str, list[base.Store]] = {}
        self._drops: collections.Counter[str] = collections.Counter()
        self._buffered = 0

    def begin(self, destination: str, digests: Collection[str]) -> None:
        """Declare the blobs that a destination needs.

        Waits a few seconds for the destinations that have not declared theirs,
        since a blob that is read before has to be read again for them.
        """
        end = time.monotonic() + _START
        with self._lock:
            self._needs[destination] = set(digests)
            self._prepared(destination)
            while self._preparing and time.monotonic() < end:
                self._begun.wait(_PERIOD)

    def leave(self, destination: str) -> None:
        """Stop waiting for a destination."""
        with self._lock:
            self._prepared(destination)
            for digest in self._needs.pop(destination, ()):
                self._forget(digest, destination)

    def settle(
        self, digest: str, destination: str, store: base.Store | None
    ) -> None:
        """Note that a destination needs a blob no longer.

        :param store: the repository that received it; None if it was not
            transferred.
        """
        with self._lock:
            if store is not None:
                self._holders.setdefault(digest, []).append(store)
            self._needs.get(destination, set()).discard(digest)
            self._forget(digest, destination)

    def holders(self, digest: str) -> list[base.Store]:
        """The repositories that received the blob in this run."""
        with self._lock:
            return list(self._holders.get(digest, ()))

    def wait(
        self, digest: str, destination: str, check: Callable[[], None]
    ) -> None:
        """Wait until the stream of the blob ends, or waits for a destination.

        A stream that only waits for others ends soon: all their threads may
        wait like this one.

        :param check: called often; its exceptions are passed on.
        """
        used = time.monotonic()
        with self._lock:
            while stream := self._streams.get(digest):
                if stream.expects(destination):
                    return
                if stream.attached:
                    used = time.monotonic()
                elif time.monotonic() >= used + _GRACE:
                    for name in list(stream.positions):
                        self._remove(stream, name)
                    return
                stream.changed.wait(_PERIOD)
                check()

    def open(
        self,
        blob: Descriptor,
        destination: str,
        source: str,
        fetch: Callable[[], base.Content],
    ) -> base.Content:
        """The blob as one destination reads it.

        :param source: the name of the source.
        :param fetch: opens the source, if no stream is under way.
        :raises Passed: when the beginning of the stream has passed.
        """
        with self._lock:
            stream = self._streams.get(blob.digest)
            if stream is None:
                expected = {
                    name
                    for name, digests in self._needs.items()
                    if blob.digest in digests and self._drops[name] < _DROPS
                }
                stream = _Stream(
                    blob.digest, source, fetch, expected, self._lock
                )
                self._streams[blob.digest] = stream
            if destination not in stream.positions:
                if stream.first:
                    raise Passed(f"{blob.digest}: read before")
                stream.positions[destination] = 0
            stream.attached.add(destination)
        return _Reader(self, stream, blob, destination, source)

    def next(self, stream: _Stream, destination: str, source: str) -> bytes:
        """The next chunk of a stream for a destination; b"" at the end.

        :param source: the source that the destination wanted.
        :raises Passed: when it was dropped, or another source failed.
        :raises OutOfTime: when the time of this thread is over.
        """
        with self._lock:
            while True:
                position = stream.positions.get(destination)
                if position is None:
                    raise Passed(f"{stream.digest}: dropped")
                if position < stream.first + len(stream.chunks):
                    chunk = stream.chunks[position - stream.first]
                    stream.positions[destination] = position + 1
                    self._trim(stream)
                    return chunk
                if stream.error is not None:
                    if source != stream.source:
                        raise Passed(f"{stream.digest}: {stream.error}")
                    raise stream.error
                if stream.ended:
                    return b""
                if stream.is_read:
                    stream.changed.wait(_IDLE)
                    deadlines.check()
                elif self._has_room(stream):
                    self._read(stream)
                else:
                    self._hold(stream)

    def detach(self, stream: _Stream, destination: str) -> None:
        """Note that a destination stopped reading a stream."""
        with self._lock:
            stream.attached.discard(destination)
            self._remove(stream, destination)
            # Another destination may have to read the source now.
            stream.changed.notify_all()

    def _prepared(self, destination: str) -> None:
        """Do not wait for what a destination declares any more."""
        self._preparing.discard(destination)
        if not self._preparing:
            self._begun.notify_all()

    def _has_room(self, stream: _Stream) -> bool:
        alone = len(stream.positions) == 1 or not stream.buffered
        return alone or (
            stream.buffered < _WINDOW and self._buffered < _BUFFER
        )

    def _read(self, stream: _Stream) -> None:
        """Read the source without the lock: others may use the buffer."""
        stream.is_read = True
        self._lock.release()
        chunk, ended = b"", False
        error: errors.ImagePrepError | None = None
        try:
            if stream.content is None:
                stream.content = stream.fetch()
            chunk = stream.content.read(base.CHUNK)
            ended = not chunk
        except errors.OutOfTime:
            # The other destinations have their own time.
            error = Passed(f"{stream.digest}: out of time")
            raise
        except errors.ImagePrepError as caught:
            error = caught
        finally:
            self._lock.acquire()
            stream.is_read = False
            stream.error = error
            stream.ended = ended
            if chunk:
                stream.chunks.append(chunk)
                stream.buffered += len(chunk)
                self._buffered += len(chunk)
            elif error is not None:
                # The next attempt is another stream.
                self._end(stream)
            stream.changed.notify_all()

    def _hold(self, stream: _Stream) -> None:
        """Wait for the slowest destinations, or drop them."""
        began = time.monotonic()
        stream.is_read = True
        self._freed.wait(_PERIOD)
        stream.is_read = False
        now = time.monotonic()
        slowest = min(stream.positions.values(), default=0)
        for name, position in list(stream.positions.items()):
            if position > slowest or self._has_room(stream):
                continue
            stream.held[name] += now - began
            grace = _GRACE / (1 + self._drops[name])
            if stream.held[name] > grace + _SHARE * (now - stream.started):
                self._drops[name] += 1
                self._remove(stream, name)

    def _trim(self, stream: _Stream) -> None:
        """Remove the chunks that all destinations have read."""
        first = min(stream.positions.values(), default=None)
        if first is None:
            first = stream.first + len(stream.chunks)
        while stream.first < first:
            size = len(stream.chunks.popleft())
            stream.first += 1
            stream.buffered -= size
            self._buffered -= size
            self._freed.notify_all()

    def _forget(self, digest: str, destination: str) -> None:
        """Do not wait for a destination that has not begun to read."""
        stream = self._streams.get(digest)
        if stream is not None and destination not in stream.attached:
            self._remove(stream, destination)

    def _remove(self, stream: _Stream, destination: str) -> None:
        stream.positions.pop(destination, None)
        self._trim(stream)
        if not stream.positions:
            self._end(stream)

    def _end(self, stream: _Stream) -> None:
        if self._streams.get(stream.digest) is stream:
            del self._streams[stream.digest]
            stream.changed.notify_all()
        # Nobody else can begin to read it.
        for name in stream.positions.keys() - stream.attached:
            del stream.positions[name]
        self._trim(stream)
        if stream.content is not None:
            stream.content.close()
            stream.content = None


class _Stream:
    """The stream of one blob.

    :ivar positions: the next chunk of each destination that reads it, or is
        expected to.
    :ivar attached: the destinations that read it.
    :ivar first: the number of the first chunk in `chunks`.
    :ivar is_read: whether a thread reads the source, or waits for room.
    :ivar held: seconds for which each destination delayed it.
    :ivar changed: notified of each chunk, and of the end.
    """

    def __init__(
        self,
        digest: str,
        source: str,
        fetch: Callable[[], base.Content],
        expected: Collection[str],
        lock: threading.Lock,
    ) -> None:
        self.digest = digest
        self.source = source
        self.fetch = fetch
        self.content: base.Content | None = None
        self.positions = dict.fromkeys(expected, 0)
        self.attached: set[str] = set()
        self.chunks: collections.deque[bytes] = collections.deque()
        self.first = 0
        self.buffered = 0
        self.is_read = False
        self.ended = False
        self.error: errors.ImagePrepError | None = None
        self.started = time.monotonic()
        self.held: dict[str, float] = collections.defaultdict(float)
        self.changed = threading.Condition(lock)

    def expects(self, destination: str) -> bool:
        """Whether a destination has yet to begin to read the stream."""
        return destination in self.positions and (
            destination not in self.attached
        )


class _Reader(base.Closing):
    """A stream as one destination reads it."""

    def __init__(
        self,
        fanout: FanOut,
        stream: _Stream,
        blob: Descriptor,
        destination: str,
        source: str,
    ) -> None:
        # The source verifies its content, all of which is read here.
        self.verifies = blob
        self._fanout = fanout
        self._stream = stream
        self._destination = destination
        self._source = source
        self._rest = b""

    def read(self, size: int = -1, /) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(base.CHUNK), b""))
        chunk = self._rest or self._fanout.next(
            self._stream, self._destination, self._source
        )
        self._rest = chunk[size:]
        return chunk[:size]

    def close(self) -> None:
        self._fanout.detach(self._stream, self._destination)
