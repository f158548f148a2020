"""When something is tried again."""

from __future__ import annotations

import copy
import errno
import socket
import threading
import time

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.retry import BRIEF, Attempts, Retrier, RetryPolicy
from tests.once import ONE_ATTEMPT

FAST = RetryPolicy(attempts=12, base=0)


def unknown_server(number: int = errno.ECONNREFUSED) -> errors.Unreachable:
    """An error of a server that never answered."""
    error = errors.Unreachable("x", errno=number)
    error.unknown = "reg.test"
    return error


def isolated() -> errors.ServerFault:
    """The error of a request that alone fails."""
    error = errors.ServerFault("x")
    error.isolated = True
    return error


def attempts_at(error: errors.ImagePrepError, attempts: Attempts) -> int:
    """How often something that always fails so is tried."""
    while attempts.pause(error) is not None:
        pass
    return attempts.failed


def test_pauses_grow_to_the_cap() -> None:
    """Pauses double, vary, and end at the cap."""
    attempts = RetryPolicy(attempts=10, base=1, cap=8).begin()
    for limit in (1, 2, 4, 8, 8, 8):
        pause = attempts.pause(errors.Unreachable("x"))
        assert pause is not None
        assert limit / 2 <= pause <= limit


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ServerFault("x"), 12),
        (errors.Unreachable("x"), 12),
        (errors.Unreachable("x", errno=errno.ECONNRESET), 12),
        (errors.Unreachable("x", errno=socket.EAI_AGAIN), 12),
        (errors.Unreachable("x", errno=socket.EAI_NONAME), 5),
        (unknown_server(), 5),
        (unknown_server(socket.EAI_NONAME), 2),
        (unknown_server(errno.ETIMEDOUT), 3),
        (errors.DigestMismatch("x"), 5),
        (errors.DigestMismatch("x", actual="sha256:a"), 7),
        (errors.SizeMismatch("x"), 7),
        (isolated(), 7),
        (errors.NotFound("x"), 1),
        (errors.Unverified("x"), 1),
        (errors.Refused("x"), 1),
        (errors.ServerFault("x", temporary=False), 1),
    ],
)
def test_attempts(error: errors.ImagePrepError, expected: int) -> None:
    """A usually permanent error is tried less often than a passing one."""
    # An error that is given up stays so.
    assert attempts_at(copy.copy(error), FAST.begin()) == expected
    assert attempts_at(copy.copy(error), ONE_ATTEMPT.begin()) == 1


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.ServerFault("x"), 3),
        (errors.TooManyRequests("x"), 3),
        (errors.TooManyRequests("x", retry_after=60), 1),
        (errors.Unreachable("x", errno=errno.ECONNRESET), 3),
        (unknown_server(), 1),
        (unknown_server(socket.EAI_NONAME), 1),
        (unknown_server(errno.ETIMEDOUT), 1),
    ],
)
def test_attempts_of_who_only_looks(
    error: errors.ImagePrepError, expected: int
) -> None:
    """A registry that stumbles is asked again, one that is away is not."""
    assert attempts_at(error, BRIEF.begin()) == expected


def test_other_wrong_bytes_are_damage() -> None:
    """Content that is wrong in another way each time is tried on."""
    attempts = FAST.begin()
    for n in range(11):
        error = errors.DigestMismatch(f"x {n}", actual=f"sha256:{n}")
        assert attempts.pause(error) is not None


def test_progress_counts_anew() -> None:
    """An attempt that got further is not one of those in a row."""
    attempts = RetryPolicy(attempts=2, base=0).begin()
    error = errors.Unreachable("x")
    assert attempts.pause(error) is not None
    attempts.progressed()
    assert attempts.pause(error) is not None
    assert attempts.pause(error) is None


@pytest.mark.parametrize(
    "error",
    [
        errors.Unreachable("x", errno=socket.EAI_NONAME),
        unknown_server(),
        errors.DigestMismatch("x", actual="sha256:a"),
        errors.SizeMismatch("x"),
        isolated(),
    ],
)
def test_permanent_causes_are_told_soon(error: errors.StoreError) -> None:
    """A usually permanent error is raised within fifteen seconds."""
    attempts = RetryPolicy().begin()
    pauses = iter(lambda: attempts.pause(error), None)
    assert sum(pause for pause in pauses if pause) < 15


def test_other_failures_between_are_no_turns_of_others() -> None:
    """Only what a server took since it last limited a request counts."""
    attempts = FAST.begin()
    limited = errors.TooManyRequests("x")
    limited.served = 3
    for _ in range(5):
        assert attempts.pause(limited) is not None
        assert attempts.pause(errors.ServerFault("y")) is not None
    assert attempts.pause(limited) is not None
    assert attempts.pause(limited) is None


def test_a_turn_of_others_counts_once() -> None:
    """It permits one attempt more, not each one after it."""
    attempts = FAST.begin()
    limited = errors.TooManyRequests("x")
    limited.served = 3
    assert attempts.pause(limited) is not None
    limited.served = 4
    pauses = (attempts.pause(limited) for _ in range(99))
    assert sum(pause is not None for pause in pauses) == FAST.attempts - 1


def test_turns_of_others_before_progress() -> None:
    """They permit no further attempts after it."""
    attempts = FAST.begin()
    for served in range(9):
        limited = errors.TooManyRequests("x")
        limited.served = served
        assert attempts.pause(limited) is not None
    attempts.progressed()
    pauses = iter(lambda: attempts.pause(errors.ServerFault("y")), None)
    assert len(list(pauses)) == FAST.attempts - 1


def test_waits_as_asked() -> None:
    """Retry-After is kept, unless it is out of all proportion."""
    policy = RetryPolicy(base=0.5, cap=1, patience=100)
    limited = errors.TooManyRequests("x", retry_after=90)
    assert policy.begin().pause(limited) == 90
    limited = errors.TooManyRequests("x", retry_after=6 * 3600)
    assert policy.begin().pause(limited) is None


@pytest.mark.parametrize(
    ("retry_after", "holds"), [(None, False), (200, True)]
)
def test_who_waits_for_a_rate_limit(
    retry_after: float | None, holds: bool
) -> None:
    """Others wait as long as the registry asks, never for one's own pause."""
    waits: list[float] = []

    class End(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout or 0)
            self.set()
            return True

    policy = RetryPolicy(base=30)
    retrier = Retrier(policy, Observer(), End())
    error = errors.TooManyRequests("x", retry_after=retry_after)
    with pytest.raises(errors.StoreError, match="the run ends"):
        retrier.rest("x", policy.begin(), error)
    with pytest.raises(errors.StoreError, match="the run ends"):
        retrier.wait()
    assert len(waits) == 1 + holds
    assert (waits[-1] > 100) is holds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in seconds."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def ask(retrier: Retrier, error: errors.Unreachable) -> None:
    """Ask a server that fails so, unless it is known to be silent."""

    def send() -> None:
        retrier.check("reg.test")
        raise copy.copy(error)

    with pytest.raises(errors.Unreachable):
        retrier.retrying("x", send)


def test_silence_is_not_prolonged(clock: list[float]) -> None:
    """Those who learn of it do not make it longer for others."""
    retrier = Retrier(ONE_ATTEMPT, Observer(), threading.Event())
    ask(retrier, unknown_server())
    for clock[0] in (1010.0, 1029.0):
        ask(retrier, unknown_server())
        with pytest.raises(errors.Unreachable):
            retrier.check("reg.test")
    clock[0] = 1031.0
    retrier.check("reg.test")


def test_refused_certificates_are_no_silence() -> None:
    """A server whose certificate is refused did answer."""
    retrier = Retrier(ONE_ATTEMPT, Observer(), threading.Event())
    error = errors.Unverified("x")
    error.unknown = "reg.test"
    ask(retrier, error)
    retrier.check("reg.test")
