"""The threads of a phase."""

from __future__ import annotations

import gc
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from imageprep_client.transfer import workers as workers_module
from imageprep_client.transfer.workers import Cancelled, Workers


def broken(number: int) -> None:
    if number % 2:
        raise errors.StoreError(str(number))


def test_every_item_is_worked_on():
    """Each item is given to the work once."""
    seen: list[int] = []
    with Workers(4, keep_going=False) as workers:
        assert workers.each(seen.append, range(100)) == []
    assert sorted(seen) == list(range(100))


def test_no_items():
    """Nothing to do is no failure."""
    with Workers(4, keep_going=False) as workers:
        assert workers.each(broken, []) == []


def test_keep_going_collects_every_failure():
    """With keep_going each failure is listed with its item."""
    with Workers(3, keep_going=True) as workers:
        failures = workers.each(broken, range(6))
    assert sorted(item for item, _ in failures) == [1, 3, 5]


def test_first_failure_stops():
    """Without keep_going nothing is started after a failure."""
    seen: list[int] = []

    def work(number: int) -> None:
        seen.append(number)
        broken(number)

    with Workers(1, keep_going=False) as workers:
        workers.each(work, range(6))
        assert workers.stopped
        assert workers.each(work, range(6)) == []
    assert seen == [0, 1]


def test_limit_bounds_the_threads():
    """`most` lets fewer pieces of work run at once than there are
    threads.
    """

    names: set[str] = set()
    barrier = threading.Barrier(2, timeout=60)

    def work(number: int) -> None:
        names.add(threading.current_thread().name)
        barrier.wait()

    with Workers(8, keep_going=False) as workers:
        workers.each(work, range(8), most=2)
    assert len(names) == 2


def test_further_items_get_threads():
    """Items that follow a single one are done at the same time."""
    barrier = threading.Barrier(4, timeout=60)

    def work(number: int) -> range:
        if not number:
            return range(1, 5)
        barrier.wait()
        return range(0)

    with Workers(4, keep_going=False) as workers:
        workers.each(work, [0])
    assert not barrier.broken


def test_threads_are_used_again():
    """The threads of one phase do the work of the next, of any run."""
    barrier = threading.Barrier(4, timeout=30)

    def together(_: int) -> int:
        barrier.wait()
        return threading.get_ident()

    with Workers(4, keep_going=False) as workers:
        workers.map(together, range(4))
    alive = {thread.ident for thread in threading.enumerate()}
    with Workers(4, keep_going=False) as workers:
        assert set(workers.map(together, range(4))) <= alive


def test_threads_keep_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without work keeps nothing of the last one in memory, nor of
    the one that it was started for.
    """
    monkeypatch.setattr(workers_module, "_threads", workers_module._Threads())
    kept = []
    for _ in range(2):
        large = threading.Event()
        kept.append(weakref.ref(large))

        def work(_: int, used: threading.Event = large) -> None:
            used.set()

        with Workers(1, keep_going=False) as workers:
            workers.each(work, range(1))
        del workers, work, large
    gc.collect()
    assert [one() for one in kept] == [None, None]


_FORK = """
import os, threading
from imageprep_client.transfer.workers import Workers

def run():
    barrier = threading.Barrier(2)
    with Workers(2, keep_going=False) as workers:
        workers.map(lambda number: barrier.wait(), range(2))

run()
process = os.fork()
run()
if process:
    assert os.waitpid(process, 0)[1] == 0
"""


def test_threads_of_a_fork():
    """A fork, which has none of the threads, starts its own."""
    subprocess.run([sys.executable, "-c", _FORK], check=True, timeout=120)


def test_cancelled_work_is_no_failure():
    """Work that gives up because the run stops is not listed."""

    def work(number: int) -> None:
        workers.stop()
        workers.check()

    with Workers(2, keep_going=True) as workers:
        assert workers.each(work, range(3)) == []
        with pytest.raises(Cancelled):
            workers.check()


def test_defects_are_raised():
    """An exception that is none of ours is not collected."""

    def work(number: int) -> None:
        raise ZeroDivisionError

    with (
        Workers(2, keep_going=True) as workers,
        pytest.raises(ZeroDivisionError),
    ):
        workers.each(work, range(3))


def test_work_gives_more_work():
    """Work that comes out of other work is done after earlier work."""
    seen: list[int] = []

    def work(number: int) -> list[int]:
        seen.append(number)
        return [number * 10] if number < 10 else []

    with Workers(1, keep_going=False) as workers:
        workers.each(work, [1, 2])
    assert seen == [1, 2, 10, 20]


def test_idle_threads_wait_for_more_work():
    """Work that comes out of one piece is done by several at once."""

    barrier = threading.Barrier(3, timeout=60)

    def work(number: int) -> list[int]:
        if number:
            barrier.wait()
            return []
        return [1, 2, 3]

    with Workers(3, keep_going=False) as workers:
        assert workers.each(work, [0, 0, 0]) == []


def test_small_items_pass_large_ones():
    """Large items that must wait do not hold up the small ones."""

    done = threading.Event()

    def work(number: int) -> None:
        if number >= 10:
            assert done.wait(10)
        if number == 2:
            done.set()

    with Workers(2, keep_going=False) as workers:
        workers.each(
            work,
            [10, 11, 1, 2],
            lane=lambda number: "large" if number >= 10 else "small",
            lanes={"large": 1, "small": 2},
        )


@pytest.mark.parametrize("allowed", [0, 1])
def test_too_few_threads(
    monkeypatch: pytest.MonkeyPatch, allowed: int
) -> None:
    """All is done by the threads that the system allows, or by the caller."""
    start = threading.Thread.start
    left = [None] * allowed

    def limited(thread: threading.Thread) -> None:
        if not left:
            raise RuntimeError("can't start new thread")
        left.pop()
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)
    seen: list[int] = []
    with Workers(4, keep_going=False) as workers:
        assert workers.each(seen.append, range(10)) == []
    assert sorted(seen) == list(range(10))


#: Copies images of a registry to a tree.
_COPY = """
import sys
from imageprep_client.observer import Observer
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.stores.registry.endpoints.hosts import Hosts
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.engine import copy_all
host, path = sys.argv[1:]
tree = ImageServeTree(path)
with RegistryClient(Hosts()) as client, tree.lock(print):
    results = copy_all(
        [
            Copy(
                name=name,
                source=client.store(host, name),
                reference="1",
                destination=tree.store(name),
                tag="1",
            )
            for name in (f"ns/{number}" for number in range(20))
        ],
        observer=Observer(),
    )
print({str(result.outcome) for result in results})
"""


@pytest.mark.parametrize("descriptors", [24, 48])
def test_too_few_descriptors(tmp_path: Path, descriptors: int) -> None:
    """A copy works with few file descriptors, only slower."""
    with RegistryServer() as registry:
        for number in range(20):
            layers = [content.blob((number, n), 200_000) for n in range(4)]
            image = content.image(number, layers)
            put(registry.content.store(f"ns/{number}"), image, "1")
        done = subprocess.run(
            [
                *("prlimit", f"--nofile={descriptors}"),
                *(sys.executable, "-c", _COPY, registry.host),
                str(tmp_path / "tree"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert (done.stdout, done.stderr) == ("{'copied'}\n", "")


def test_signals_that_come_before_the_wait() -> None:
    """A signal that did not end the wait for the threads is seen soon.

    The kernel may also give a signal to another thread, as here.
    """
    stopped = threading.Event()

    def work(_: int) -> None:
        workers.pause(0.3)  # the main thread waits meanwhile
        signal.pthread_kill(threading.get_ident(), signal.SIGINT)
        try:
            workers.pause(50)
        except Cancelled:
            stopped.set()
            raise

    with Workers(1, keep_going=False) as workers:
        with pytest.raises(KeyboardInterrupt):
            workers.each(work, [1])
        assert stopped.wait(20)


def test_interrupt_while_threads_are_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those that have begun stop, as do those of a part of the run."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(workers_module._threads, "run", interrupt)
    with Workers(2, keep_going=True) as workers:
        part = Workers(2, keep_going=True, parent=workers)
        with pytest.raises(KeyboardInterrupt):
            workers.each(broken, range(2))
        assert part.stopped
