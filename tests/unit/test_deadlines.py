"""The time that a piece of work may take."""

from __future__ import annotations

import signal

import pytest

from imageprep_client import deadlines


def test_timers_of_others() -> None:
    """The timer and the handler of others go on after an interruption."""

    def theirs(*_: object) -> None:
        pass

    handler = signal.signal(signal.SIGALRM, theirs)
    timer = signal.setitimer(signal.ITIMER_REAL, 1000, 7)
    try:
        with (
            pytest.raises(TimeoutError, match="too long"),
            deadlines.interrupted(0.01, "too long"),
        ):
            signal.pause()
        assert signal.getsignal(signal.SIGALRM) is theirs
        remaining, interval = signal.getitimer(signal.ITIMER_REAL)
        assert remaining > 0
        assert interval == 7
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)
