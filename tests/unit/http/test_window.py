"""How many requests a registry gets at once."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
import time
from collections.abc import Iterator

import pytest

from imageprep_client.http.window import Window
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing import content, gate, registry


class Served:
    """A registry that works on so many requests at once, in turns.

    :param workers: how many it works on.
    :param distance: seconds that each answer is on its way.
    """

    def __init__(self, most: int, workers: int, distance: float) -> None:
        self.now = 0.0
        self.window = Window(most, threading.Event(), lambda: self.now)
        self._workers = workers
        self._distance = distance

    def turn(self) -> None:
        """As many requests as the window lets through, all answered."""
        places = [contextlib.ExitStack() for _ in range(self.window.size)]
        begin = self.now
        for place in places:
            place.enter_context(self.window.place("HEAD"))
        for number, place in enumerate(places):
            waves = number // self._workers + 1
            self.now = begin + self._distance + waves * 0.001
            place.close()


@contextlib.contextmanager
def taken(window: Window, count: int) -> Iterator[None]:
    """So many places."""
    with contextlib.ExitStack() as stack:
        for _ in range(count):
            stack.enter_context(window.place("HEAD"))
        yield


def test_a_distant_registry_gets_many():
    """Where answers are long on their way, all that is allowed is used."""
    served = Served(most=96, workers=8, distance=0.1)
    for _ in range(10):
        served.turn()
    assert served.window.size == 96


def test_a_near_registry_gets_what_it_can_work_on():
    """Where requests only wait for each other, few are sent."""
    served = Served(most=96, workers=2, distance=0.0)
    for _ in range(200):
        served.turn()
    assert 8 <= served.window.size <= 24


def test_one_is_always_allowed():
    """However often a registry limits the rate, something goes on."""
    now = [0.0]
    window = Window(32, threading.Event(), lambda: now[0])
    for _ in range(20):
        now[0] += 1
        window.limited(now[0])
    assert window.size == 1


def test_limits_of_one_moment_count_once():
    """Requests that were under way together halve the window together."""
    now = [1.0]
    window = Window(16, threading.Event(), lambda: now[0])
    now[0] = 2.0
    for _ in range(16):
        window.limited(1.0)
    assert window.size == 8


@pytest.mark.parametrize("most", [1, 3])
def test_the_bound_is_kept(most: int):
    """No more than allowed are under way, however prompt the answers."""
    served = Served(most=most, workers=most, distance=1.0)
    for _ in range(50):
        served.turn()
    assert served.window.size == most


def test_who_finds_no_place_waits():
    """A place that is given back is taken by who waits for it."""
    window = Window(1, threading.Event())
    entered = threading.Event()

    def enter() -> None:
        with window.place("HEAD"):
            entered.set()

    thread = threading.Thread(target=enter)
    with taken(window, 1):
        thread.start()
        assert not entered.wait(0.05)
    thread.join(10)
    assert entered.is_set()


def test_nobody_waits_when_the_run_ends():
    """Who waits for a place goes on, to be told by what comes next."""
    stop = threading.Event()
    window = Window(1, stop)
    with taken(window, 1):
        stop.set()
        with window.place("HEAD"):
            pass


class Counting(gate.Open):
    """Lets everybody in, slowly, and counts who is there at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self.most = 0

    def admits(self, authorization: str, scope: str) -> bool:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        time.sleep(0.01)
        with self._lock:
            self._inside -= 1
        return True


def test_a_registry_never_gets_more_than_the_bound():
    """More threads than allowed take turns."""
    counting = Counting()
    blob = content.blob("absent").descriptor
    with (
        registry.RegistryServer(gate=counting) as server,
        RegistryClient(concurrency=3) as client,
        concurrent.futures.ThreadPoolExecutor(12) as pool,
    ):
        store = client.store(server.host, "ns/name")
        assert not any(pool.map(lambda _: store.exists(blob), range(24)))
    assert counting.most == 3


@pytest.mark.parametrize(
    ("most", "first", "size"),
    [(96, 0.0, 32), (96, 0.002, 32), (96, 0.1, 96), (8, 0.1, 8), (8, 0.0, 8)],
)
def test_first_size(most: int, first: float, size: int) -> None:
    """Who is far away, as a first answer told, is asked much at once."""
    assert Window(most, threading.Event(), first=first).size == size
