"""The number of requests that a server gets at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from imageprep_client import deadlines, errors
from imageprep_client.http.request_limit import RequestLimit
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, gate, registry


@contextlib.contextmanager
def taken(limit: RequestLimit, count: int) -> Iterator[None]:
    """So many slots."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(limit)
        yield


def test_one_is_always_allowed():
    """However often a registry limits the rate, something goes on."""
    now = [0.0]
    limit = RequestLimit(32, threading.Event(), lambda: now[0])
    for _ in range(20):
        now[0] += 1
        limit.limited(now[0])
    assert limit.size == 1


def test_limits_of_one_moment_count_once():
    """Requests that were under way together halve the limit once."""
    now = [1.0]
    limit = RequestLimit(16, threading.Event(), lambda: now[0])
    now[0] = 2.0
    for _ in range(16):
        limit.limited(1.0)
    assert limit.size == 8


def test_answers_raise_the_limit() -> None:
    """A limit that was halved grows by one with as many answers as it is."""
    limit = RequestLimit(16, threading.Event())
    limit.limited(1.0)
    for expected in range(8, 16):
        assert limit.size == expected
        for _ in range(expected + 1):
            with limit:
                pass
    for _ in range(100):
        with limit:
            pass
    assert limit.size == 16


def test_a_slot_is_waited_for():
    """A slot that is given back is taken by a thread that waits."""
    limit = RequestLimit(1, threading.Event())
    entered = threading.Event()

    def enter() -> None:
        with limit:
            entered.set()

    thread = threading.Thread(target=enter)
    with taken(limit, 1):
        thread.start()
        assert not entered.wait(0.05)
    thread.join(10)
    assert entered.is_set()


def test_nobody_waits_when_the_run_ends():
    """A thread that waits goes on, and the next step tells it to stop."""
    stop = threading.Event()
    limit = RequestLimit(1, stop)
    with taken(limit, 1):
        stop.set()
        with limit:
            pass


def test_nobody_waits_beyond_a_deadline():
    """The thread whose deadline passes fails, and takes no slot."""
    limit = RequestLimit(1, threading.Event())
    with (
        taken(limit, 1),
        deadlines.within(0.05, "an image"),
        pytest.raises(errors.OutOfTime, match="an image"),
    ):
        limit.__enter__()
    with limit:
        pass


class Counting(gate.Open):
    """Lets everybody in, slowly, and counts who is there at once.

    The first ones wait for each other, once it counts.

    :ivar counts: whether it does.
    """

    def __init__(self, least: int) -> None:
        self._lock = threading.Lock()
        self._together = threading.Event()
        self._least = least
        self._inside = 0
        self.counts = False
        self.most = 0

    def admits(self, authorization: str, scope: str) -> bool:
        if not self.counts:
            return True
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
            if self.most >= self._least:
                self._together.set()
        self._together.wait(60)
        time.sleep(0.01)
        with self._lock:
            self._inside -= 1
        return True


def test_a_registry_never_gets_more_than_the_bound():
    """More threads than allowed take turns."""
    counting = Counting(3)
    blob = content.blob("absent").descriptor
    with (
        registry.RegistryServer(gate=counting) as server,
        RegistryClient(concurrency=3) as client,
        concurrent.futures.ThreadPoolExecutor(12) as pool,
    ):
        store = client.store(server.host, "ns/name")
        # The first contact is one thread's.
        assert not store.exists(blob)
        counting.counts = True
        assert not any(pool.map(lambda _: store.exists(blob), range(24)))
    assert counting.most == 3
