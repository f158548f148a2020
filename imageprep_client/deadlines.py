"""The time that a piece of work may take, as its thread knows it."""

from __future__ import annotations

import contextlib
import contextvars
import signal
import threading
import time
from collections.abc import Iterator

from imageprep_client import errors

#: A request that begins just before the end gets so many seconds.
_LEAST = 0.1


class Deadline:
    """The end of a piece of work.

    :param left: seconds from now on.
    :param limit: seconds that the work may take in all, for messages.
    :param what: the object of the work, for messages; empty if the caller
        adds it.
    :ivar last: the last failure, or None.
    """

    def __init__(
        self,
        left: float,
        limit: float,
        last: errors.ImagePrepError | None = None,
        *,
        what: str = "",
    ) -> None:
        self.end = time.monotonic() + left
        self.limit = limit
        self._what = f"{what}: " if what else ""
        self.last = last

    def over(self) -> errors.OutOfTime:
        """The error for work that is not done by then."""
        cause = "nothing failed, it is too slow"
        if self.last is not None:
            cause = f"the last failure: {self.last}"
        return errors.OutOfTime(
            f"{self._what}not done within {self.limit:g} s"
            f" (--image-timeout); {cause}"
        )


_current: contextvars.ContextVar[Deadline | None] = contextvars.ContextVar(
    "deadline", default=None
)


@contextlib.contextmanager
def limited(deadline: Deadline) -> Iterator[None]:
    """Bound the work of this thread within the block.

    :raises OutOfTime: when there is no time left.
    """
    token = _current.set(deadline)
    try:
        check()
        yield
    finally:
        _current.reset(token)


@contextlib.contextmanager
def within(seconds: float | None, what: str) -> Iterator[None]:
    """Bound the work of this thread within the block; None: no bound.

    :param what: as for `Deadline`.
    """
    if seconds is None:
        yield
        return
    with limited(Deadline(seconds, seconds, what=what)):
        yield


def check(
    pause: float = 0.0, failure: errors.ImagePrepError | None = None
) -> None:
    """Check that there is time left for a pause.

    :param failure: the reason for the pause.
    :raises OutOfTime: if there is not.
    """
    deadline = _current.get()
    if deadline is None:
        return
    deadline.last = failure or deadline.last
    if time.monotonic() + pause >= deadline.end:
        raise deadline.over() from deadline.last


def bounded(seconds: float) -> float:
    """The seconds, or those that are left if they are fewer."""
    deadline = _current.get()
    if deadline is None:
        return seconds
    return max(_LEAST, min(seconds, deadline.end - time.monotonic()))


@contextlib.contextmanager
def interrupted(seconds: float, problem: str) -> Iterator[None]:
    """Interrupt a computation that cannot check the time itself.

    Only the main thread can be interrupted; other threads are not bounded.

    :raises TimeoutError: when the block takes longer; `problem` is its
        message.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise TimeoutError(problem)

    handler = signal.signal(signal.SIGALRM, stop)
    others = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        try:
            signal.setitimer(signal.ITIMER_REAL, *others)
        finally:
            signal.signal(signal.SIGALRM, handler)
