"""The time that the copy of an image may take."""

from __future__ import annotations

import re
import threading
import time

import pytest

from imageprep_client import deadlines, errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.retry import Retrier, RetryPolicy
from imageprep_client.stores import base, verify
from imageprep_client.stores.memory import MemoryRegistry, MemoryStore
from imageprep_client.testing import images
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.image_time import ImageTime
from imageprep_client.transfer.known import Answers

GOOD, BAD = (
    images.random_image(name, repository=f"ns/{name}")
    for name in ("good", "bad")
)


class Failing(MemoryStore):
    """A store whose pushes fail for now, again and again."""

    def push(self, expected: Descriptor, content: base.Content) -> None:
        raise errors.ServerFault("no luck")


class Slow(MemoryStore):
    """A store that takes its time with each read of a blob."""

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if not descriptor.is_manifest:
            time.sleep(0.3)
        return super().fetch(descriptor)


def copy(
    source: MemoryStore, destination: MemoryStore, timeout: float
) -> Copy:
    """A copy within a time."""
    return Copy(
        name=source.repository,
        source=source,
        reference="latest",
        destination=destination,
        tag="latest",
        timeout=timeout,
    )


@pytest.fixture
def source() -> MemoryRegistry:
    """A registry with both images."""
    registry = MemoryRegistry("source")
    images.write([GOOD, BAD], registry.store)
    return registry


def test_an_image_ends_in_time(source: MemoryRegistry) -> None:
    """An image that takes too long fails with the limit and the cause."""
    target = MemoryRegistry("target")
    begin = time.monotonic()
    good, bad = engine.copy_all(
        [
            copy(source.store("ns/good"), target.store("ns/good"), 60),
            copy(source.store("ns/bad"), Failing(target, "ns/bad"), 1),
        ],
        observer=Observer(),
        keep_going=True,
    )
    assert time.monotonic() - begin < 30
    assert good.error is None
    assert re.search(
        r"not done within 1 s \(--image-timeout\); the last failure: no luck",
        str(bad.error),
    )


def test_slow_work_ends_in_time(source: MemoryRegistry) -> None:
    """An image that is only slow fails, too, and names no failure."""
    (result,) = engine.copy_all(
        [
            copy(
                Slow(source, "ns/good"),
                MemoryRegistry("target").store("ns/good"),
                0.2,
            )
        ],
        observer=Observer(),
        concurrency=1,
    )
    assert "nothing failed, it is too slow" in str(result.error)


def test_answer_for_an_image_with_time_left() -> None:
    """A question is asked again for an image that has time for it."""
    answers = Answers()

    def late() -> str:
        raise errors.OutOfTime("not done within 1 s")

    with pytest.raises(errors.OutOfTime):
        answers.get("question", late)
    assert answers.get("question", lambda: "answer") == "answer"


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self._now = 1000.0

    def __call__(self) -> float:
        return self._now

    def turn(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of all deadlines."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


def test_waiting_for_a_thread_does_not_count(clock: Clock) -> None:
    """Time without any work on an image does not count."""
    image = ImageTime(2)
    for _ in range(3):
        clock.turn(1)
        with ImageTime.shared([image]):
            pass
    with ImageTime.shared([image]), ImageTime.shared([image]):
        clock.turn(1.1)
        deadlines.check()
        clock.turn(1.1)
        with pytest.raises(errors.OutOfTime):
            deadlines.check()
    with pytest.raises(errors.OutOfTime), ImageTime.shared([image]):
        pass


def test_shared_work_has_the_longest_time(clock: Clock) -> None:
    """Work for several images goes on while one of them has time."""
    old, new = ImageTime(2), ImageTime(2)
    with ImageTime.shared([old]):
        clock.turn(1.5)
    with ImageTime.shared([old, new]):
        clock.turn(1)
        deadlines.check()
    with pytest.raises(errors.OutOfTime), ImageTime.shared([old]):
        pass


def test_retries_end_in_time() -> None:
    """A pause that is longer than the time left is not begun."""
    retrier = Retrier(
        RetryPolicy(base=200, cap=200), Observer(), threading.Event()
    )

    def fail() -> None:
        raise errors.ServerFault("busy")

    begin = time.monotonic()
    with (
        pytest.raises(errors.OutOfTime, match="busy"),
        deadlines.limited(deadlines.Deadline(60, 60)),
    ):
        retrier.retrying("x", fail)
    assert time.monotonic() - begin < 30


def test_timeouts_are_bounded() -> None:
    """No answer is waited for longer than there is time."""
    assert deadlines.bounded(60) == 60
    with deadlines.limited(deadlines.Deadline(2, 2)):
        assert deadlines.bounded(60) <= 2
