"""Threads that work through a phase, stop together, and report each failure.

Threads, not processes: what costs time - sockets, hashing, writing - releases
the GIL in pieces of `stores.base.CHUNK`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from queue import SimpleQueue
from typing import Generic, Self, TypeVar

from imageprep_client import errors
from imageprep_client.stores import base
from imageprep_client.transfer.window import Window

T = TypeVar("T")
R = TypeVar("R")
_Work = tuple[Callable[[], None], threading.Event]

#: Seconds that an interrupted run waits for its threads, which a silent
#: registry may block. Abandoned threads do not affect the next run.
_GRACE = 0.8
#: Seconds between two looks for signals.
_PERIOD = 0.5
#: Seconds that work takes where its response is there, and how much longer it
#: may take in all before others share it.
_PROMPT, _DELAY = 0.05, 0.5
#: Threads for work on files of this host: it has no round trips to hide, and
#: more threads would wait for each other and for the interpreter.
LOCAL = 4
#: The lane of items that any number of threads may work at.
_OPEN = ""
_LANES: Mapping[str, int] = {_OPEN: sys.maxsize}
#: Descriptors of the process itself, and those that a thread may need for
#: connections to both sides, a file, and directories.
_OWN_DESCRIPTORS = 24
_DESCRIPTORS_EACH = 8


class Cancelled(errors.ImagePrepError):
    """The run stops; this piece of work was not done."""


class Workers:
    """The threads of one run.

    :param concurrency: the maximum number of threads.
    :param keep_going: whether a failure does not stop the other work.
    :param parent: the workers that these stop with.
    """

    def __init__(
        self,
        concurrency: int,
        *,
        keep_going: bool,
        parent: Workers | None = None,
    ) -> None:
        self.keep_going = keep_going
        self._stop = threading.Event()
        self._concurrency = min(concurrency, _affordable())
        self._children: list[Workers] = []
        if parent is not None:
            parent._children.append(self)
            if parent.stopped:
                self.stop()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop each piece of work at its next check."""
        self._stop.set()
        for child in self._children:
            child.stop()

    def check(self) -> None:
        """Abandon the current piece of work if the run is stopping.

        :raises Cancelled: if it is.
        """
        if self._stop.is_set():
            raise Cancelled("stopped")

    def pause(self, seconds: float) -> None:
        """Pause for `seconds`.

        :raises Cancelled: as soon as the run is stopping.
        """
        self._stop.wait(seconds)
        self.check()

    def map(
        self,
        work: Callable[[T], R],
        items: Iterable[T],
        *,
        most: int = sys.maxsize,
        request: Callable[[T], base.Prefetched | None] | None = None,
    ) -> list[R]:
        """The results of all items, in their order.

        :param most: as for `each`; not together with `request`.
        :param request: as for `each_ahead`.
        :raises ImagePrepError: that of the first item whose work failed.
        """
        wanted = list(items)
        results: dict[int, R] = {}

        def one(number: int) -> None:
            results[number] = work(wanted[number])

        failures = dict(
            self.each(one, range(len(wanted)), most=most)
            if request is None
            else self.each_ahead(
                one, range(len(wanted)), lambda number: request(wanted[number])
            )
        )
        if failures:
            raise failures[min(failures)]
        return [results[number] for number in range(len(wanted))]

    def each(
        self,
        work: Callable[[T], Iterable[T] | None],
        items: Iterable[T],
        *,
        lane: Callable[[T], str] = lambda _: _OPEN,
        lanes: Mapping[str, int] = _LANES,
        most: int = sys.maxsize,
        tolerate: type[errors.ImagePrepError] | None = None,
    ) -> list[tuple[T, errors.ImagePrepError]]:
        """Call `work` with each item, in order, in several threads.

        When the caller is interrupted, the threads are stopped and get a
        moment to end.

        :param work: may return further items, which follow the others.
        :param lane: the lane of an item, one of `lanes`. Items of one lane
            are started in order, and need not wait for those of others.
        :param lanes: how many items of each lane are done at once, at most.
            Where several could be next, that of the first lane is.
        :param most: how many items are done at once, at most.
        :param tolerate: failures whose cause is of this kind do not stop
            the others, even without `keep_going`.
        :returns: the items whose work raised an `ImagePrepError`, with it;
            items that were cancelled are not listed. Any other exception is
            a defect and is raised here.
        """
        queue = _Queue(items, lane, lanes)
        failures: list[tuple[T, errors.ImagePrepError]] = []
        defects: list[BaseException] = []

        def drain() -> None:
            while taken := queue.take():
                item, lane = taken
                further: list[T] = []
                try:
                    if self._stop.is_set():
                        return
                    further += work(item) or ()
                except Cancelled:
                    return
                except errors.ImagePrepError as error:
                    failures.append((item, error))
                    if not self.keep_going and not (
                        tolerate and isinstance(error.__cause__, tolerate)
                    ):
                        self._stop.set()
                except BaseException as error:
                    defects.append(error)
                    self._stop.set()
                    return
                finally:
                    queue.done(lane, further)
                    if further:
                        team.grow(queue.size)

        team = _Team(drain, min(self._concurrency, most))
        try:
            team.grow(queue.size)
            team.wait()
        except BaseException:
            self.stop()
            team.abandon()
            raise
        if defects:
            raise defects[0]
        return failures

    def each_ahead(
        self,
        work: Callable[[T], Iterable[T] | None],
        items: Iterable[T],
        request: Callable[[T], base.Prefetched | None],
    ) -> list[tuple[T, errors.ImagePrepError]]:
        """As `each`, but request first what the work will read.

        One thread does the work while the next requests are under way: a
        nearby registry answers sooner than Python switches between threads.
        From the first request that fails on, and when the work takes long
        all the same, several threads do the rest, so that none waits for the
        repetitions of another.

        :param request: requests what the work on an item reads first; None:
            nothing can be requested ahead.
        """
        window = Window(items, request, self._concurrency)
        failures: list[tuple[T, errors.ImagePrepError]] = []

        def one_by_one(window: Window[T]) -> None:
            late = 0.0
            with contextlib.closing(window):
                while late < _DELAY and (taken := window.take()):
                    item, prefetched = taken
                    begin = time.monotonic()
                    try:
                        with contextlib.closing(prefetched):
                            self.check()
                            window.items.extend(work(item) or ())
                    except Cancelled:
                        return
                    except errors.ImagePrepError as error:
                        failures.append((item, error))
                        if not self.keep_going:
                            self._stop.set()
                    late += max(0.0, time.monotonic() - begin - _PROMPT)

        self.each(one_by_one, [window])
        return failures + self.each(work, window.aside)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()


class _Team:
    """Threads that do the same work.

    :param work: raises nothing.
    :param limit: how many there are, at most.
    """

    def __init__(self, work: Callable[[], None], limit: int) -> None:
        self._work = work
        self._limit = limit
        self._lock = threading.Lock()
        self._ends: list[threading.Event] = []

    def grow(self, size: int) -> None:
        """Start threads until there are `size`, within the limit."""
        # The user or the container may have reached its own limit.
        with self._lock, contextlib.suppress(RuntimeError):
            while len(self._ends) < min(size, self._limit):
                self._ends.append(_threads.run(self._work))

    def wait(self) -> None:
        """Wait until all threads have ended; without any, do the work."""
        if not self._ends:
            self._work()
        for end in self._ends:  # which may still grow
            # A signal that comes just before a wait does not end it.
            while not end.wait(_PERIOD):
                pass

    def abandon(self) -> None:
        """Give the threads a moment to end."""
        limit = time.monotonic() + _GRACE
        for end in self._ends:
            end.wait(max(0.0, limit - time.monotonic()))


class _Threads:
    """Threads that wait for further work after they have done some.

    To start one takes longer than a request, and a run has several phases.
    """

    def __init__(self) -> None:
        self._reset()
        # A fork has none of these threads.
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._idle = 0
        self._pending: SimpleQueue[_Work] = SimpleQueue()

    def run(self, work: Callable[[], None]) -> threading.Event:
        """Begin work that raises nothing, in a thread of its own.

        :returns: set when the work has ended.
        :raises RuntimeError: if no further thread can start.
        """
        ended = threading.Event()
        with self._lock:
            is_idle = self._idle > 0
            if is_idle:
                self._idle -= 1
        if not is_idle:
            # A thread that hangs in a read must not keep the process.
            threading.Thread(target=self._loop, daemon=True).start()
        self._pending.put((work, ended))
        return ended

    def _loop(self) -> None:
        while True:
            work, ended = self._pending.get()
            work()
            # The work may hold large objects.
            del work
            with self._lock:
                self._idle += 1
            ended.set()


_threads = _Threads()


def _affordable() -> int:
    """How many threads the process has file descriptors for."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(1, (limit - _OWN_DESCRIPTORS) // _DESCRIPTORS_EACH)


class _Queue(Generic[T]):
    """The pending work of one `Workers.each`."""

    def __init__(
        self,
        items: Iterable[T],
        lane: Callable[[T], str],
        lanes: Mapping[str, int],
    ) -> None:
        self._lane_of = lane
        self._lanes = [_Lane[T](name, limit) for name, limit in lanes.items()]
        self._by_name = {lane.name: lane for lane in self._lanes}
        self._busy = 0
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        with self._lock:
            self._add(items)

    def _add(self, items: Iterable[T]) -> None:
        for item in items:
            self._by_name[self._lane_of(item)].items.append(item)
            self._changed.notify()

    @property
    def size(self) -> int:
        """The number of items that are not done."""
        with self._lock:
            return self._busy + sum(len(lane.items) for lane in self._lanes)

    def take(self) -> tuple[T, _Lane[T]] | None:
        """The next item and its lane, until `done`; None at the end."""
        with self._lock:
            while (lane := self._free_lane()) is None:
                if not self._busy:
                    return None
                # Busy workers may add to the queue.
                self._changed.wait()
            self._busy += 1
            lane.busy += 1
            return lane.items.popleft(), lane

    def done(self, lane: _Lane[T], further: Iterable[T]) -> None:
        """Count an item of this lane as done; add those that follow it."""
        with self._lock:
            self._add(further)
            self._busy -= 1
            lane.busy -= 1
            # A worker that finished an item takes the next one. The others
            # are called for what is added, and for the end.
            if not self._busy:
                self._changed.notify_all()

    def _free_lane(self) -> _Lane[T] | None:
        """The first lane with an item that may be started."""
        for lane in self._lanes:
            if lane.items and lane.busy < lane.limit:
                return lane
        return None


class _Lane(Generic[T]):
    """Items, a limited number of which may be worked at.

    :ivar busy: how many are.
    """

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.busy = 0
        self.items: collections.deque[T] = collections.deque()
