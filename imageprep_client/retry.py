"""When something that failed for now is tried again: one policy, a value."""

from __future__ import annotations

import copy
import dataclasses
import logging
import random
import socket
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from imageprep_client import deadlines, errors
from imageprep_client.observer import Observer

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
#: The longest pause, in seconds, after an error that waiting seldom helps.
_SHORT_CAP = 1.0
#: Errors of a resolver for names that do not exist.
_NO_SUCH_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA})
#: Attempts at a server that never answered: if its name does not exist, which
#: may be mistyped, and if it is silent, as behind a firewall.
_AT_UNKNOWN_NAMES, AT_SILENT_SERVERS = 2, 3
#: Seconds that a server which never answered is not asked again.
_SILENCE = 30.0


@dataclasses.dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When something that failed for now is tried again.

    :ivar attempts: how often something is tried, the first included. Where
        three of ten answers are faults, five would fail some of a thousand
        requests. An attempt does not count if a server that limits requests
        took others of the kind since the one before.
    :ivar base: seconds before the second attempt; doubled for each next.
    :ivar cap: no pause is longer, but for what a registry asks for.
    :ivar patience: a registry that asks for a longer pause is given up.
    :ivar few: attempts at what is temporary by its kind but seldom changes,
        such as a host name that does not exist any more.
    :ivar same: attempts at content that is wrong in the same way each time,
        and at a request that alone fails while the registry answers others.
    """

    attempts: int = 12
    base: float = 0.5
    cap: float = 20.0
    patience: float = 300.0
    few: int = 5
    same: int = 7

    def begin(self) -> Attempts:
        """The attempts at one piece of work."""
        return Attempts(self)

    def repeat(
        self, work: Callable[[], _T], *on: type[errors.ImagePrepError]
    ) -> _T:
        """Do the work again while it fails for now with errors of a class.

        For work that shares no limits with other work; see `Retrier`.
        """
        attempts = self.begin()
        while True:
            try:
                return work()
            except on as error:
                attempts.rest(error, _log_attempt)


#: For what must come about.
PATIENT = RetryPolicy()
#: For what only looks: an answer within seconds or none. A registry that never
#: answered is asked once; one that limits requests or stumbles, again.
BRIEF = RetryPolicy(attempts=3, base=0.25, cap=2.0, patience=5.0, few=1)


def _log_attempt(what: str, attempt: int, _: float, limit: int) -> None:
    _log.info("%s; attempt %d of %d", what, attempt + 1, limit)


class Attempts:
    """The attempts at one piece of work.

    :ivar failed: how many failed so far.
    :ivar limit: how many there are at most, after the last failure.
    """

    def __init__(self, policy: RetryPolicy) -> None:
        self._policy = policy
        self._last = ""
        self._same = 0
        # Requests of its kind that a server had taken at the last refusal,
        # and the refusals after which it took more.
        self._served: int | None = None
        self._excused = 0
        self.failed = 0
        self.limit = policy.attempts

    def progressed(self) -> None:
        """Count from the beginning, as the last attempt got further."""
        self.failed = self._excused = 0
        self._served = None

    def pause(self, error: errors.ImagePrepError) -> float | None:
        """Seconds to wait after a failed attempt, None to give up."""
        pause = self._pause(error)
        error.given_up = error.given_up or (pause is None and may_pass(error))
        return pause

    def rest(
        self,
        error: errors.ImagePrepError,
        retrying: Callable[[str, int, float, int], None],
    ) -> None:
        """Wait before the next attempt, or raise the error.

        :param retrying: as that of `Observer`.
        """
        pause = self.pause(error)
        if pause is None:
            raise error
        deadlines.check(pause, error)
        retrying(str(error), self.failed, pause, self.limit)
        time.sleep(pause)

    def _pause(self, error: errors.ImagePrepError) -> float | None:
        self.failed += 1
        policy = self._policy
        if isinstance(error, errors.ServerFault) and error.served is not None:
            # A server that takes the requests of others has a turn for each.
            if self._served is not None and self._served < error.served:
                self._excused += 1
            self._served = error.served
        limit = policy.attempts + self._excused
        if few := _few(error, policy):
            limit = min(limit, few)
        self.limit = limit
        if not may_pass(error) or error.given_up or self.failed >= limit:
            return None
        cap = policy.cap
        if _is_local(error):
            cap = min(cap, _SHORT_CAP)
            self._same = self._same + 1 if str(error) == self._last else 1
            self._last = str(error)
            self.limit = min(limit, self.failed + policy.same - self._same)
            if self.failed >= self.limit:
                return None
        longest = min(cap, policy.base * 2.0 ** (self.failed - 1))
        # Jitter spreads the load; no secret depends on it.
        pause = random.uniform(longest / 2, longest)  # noqa: S311
        if not isinstance(error, errors.TooManyRequests):
            return pause
        asked = error.retry_after or 0.0
        return None if asked > policy.patience else max(asked, pause)


def may_pass(error: errors.ImagePrepError) -> bool:
    """Whether the cause of an error may pass, if not during the attempts."""
    return error.temporary


def _few(error: errors.ImagePrepError, policy: RetryPolicy) -> int | None:
    """The attempts at an error that is usually permanent, else None."""
    if isinstance(error, errors.Unreachable):
        no_such_name = error.errno in _NO_SUCH_NAME
        if error.unknown and no_such_name:
            return min(policy.few, _AT_UNKNOWN_NAMES)
        if error.unknown and error.is_timeout:
            return min(policy.few, AT_SILENT_SERVERS)
        if error.unknown or no_such_name:
            return policy.few
    elif isinstance(error, errors.DigestMismatch) and error.actual is None:
        # A registry that refuses a digest rarely got damaged bytes; mostly
        # it does not know the algorithm.
        return policy.few
    return None


def _is_local(error: errors.ImagePrepError) -> bool:
    """Whether an error is about one object, so that waiting seldom helps.

    Damage on the way is seldom the same again.
    """
    if isinstance(error, errors.ServerFault):
        return error.isolated
    return isinstance(error, errors.InvalidContent)


class Retrier:
    """Tries again by one policy; all workers of one registry share it.

    :ivar stop: when it is set, nobody waits any longer.
    """

    def __init__(
        self, policy: RetryPolicy, observer: Observer, stop: threading.Event
    ) -> None:
        self._policy = policy
        self._observer = observer
        self.stop = stop
        self._held_until = 0.0
        self._silent: dict[str, tuple[errors.Unreachable, float]] = {}

    def begin(self) -> Attempts:
        """The attempts at one piece of work."""
        return self._policy.begin()

    def retrying(self, what: str, work: Callable[[], _T]) -> _T:
        """Do the work again while it fails with temporary errors.

        :param what: what the observer is told.
        :raises StoreError: the last one, or when the run ends.
        """
        attempts = self.begin()
        while True:
            self.wait()
            try:
                return work()
            except errors.StoreError as error:
                self.rest(what, attempts, error)

    def rest(
        self, what: str, attempts: Attempts, error: errors.StoreError
    ) -> None:
        """Wait before the next attempt, or raise the error.

        Where the registry says how long to wait, all its users wait.
        """
        pause = attempts.pause(error)
        if pause is None:
            self._note_silence(error)
            raise error
        deadlines.check(pause, error)
        told = str(error)
        if what not in told:
            told = f"{what}: {told}"
        self._observer.retrying(told, attempts.failed, pause, attempts.limit)
        if isinstance(error, errors.TooManyRequests):
            self.hold(error.retry_after)
        self.wait(pause)

    def hold(self, seconds: float | None) -> None:
        """Make all users of the registry wait, within the patience."""
        if seconds is not None and seconds <= self._policy.patience:
            end = time.monotonic() + seconds
            self._held_until = max(self._held_until, end)

    def check(self, server: str) -> None:
        """Fail at once for a server that never answered, for a while.

        :raises Unreachable: as the attempts at it did that ended last.
        """
        error, end = self._silent.get(server, (None, 0.0))
        if error and time.monotonic() < end:
            raise copy.copy(error)

    def _note_silence(self, error: errors.StoreError) -> None:
        if not isinstance(error, errors.Unreachable) or not error.unknown:
            return
        now = time.monotonic()
        _, end = self._silent.get(error.unknown, (None, now))
        if error.given_up and now >= end:
            self._silent[error.unknown] = error, now + _SILENCE

    def wait(self, seconds: float = 0.0) -> None:
        """Wait that long, and until the registry's rate limit allows more.

        :raises StoreError: when the run ends in the meantime.
        """
        end = time.monotonic() + seconds
        while (left := max(end, self._held_until) - time.monotonic()) > 0:
            deadlines.check(left)
            if self.stop.wait(left):
                break
        if self.stop.is_set():
            raise errors.StoreError("given up: the run ends")
