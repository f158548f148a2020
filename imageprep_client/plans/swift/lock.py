"""A lock that is an object: one writer at a time, over Swift.

Swift cannot replace an object on condition that it is still the same one.
What it can: refuse to create an object that exists, and forget one at a
given time. The first has a gap: the server looks whether the object is there
some time before it stores the new one. So whoever has created the lock waits
for as long as it may take others to come through that gap, and then looks
whose lock it is. See the record of the decision in the documentation.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import secrets
import time

from imageprep_client.plans.swift.object_store import ObjectContainer

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds; they must be the same for all who write to a plan.

    :ivar settle: how long whoever has created the lock quicker than this
        waits before it looks whose lock it is.
    :ivar section: how long the lock is good for; and how long whoever was
        slower than `settle` waits.
    :ivar lifetime: whole seconds after which the server forgets the lock of
        a writer that was killed.
    :ivar patience: how long one waits for the others.
    """

    settle: float = 0.3
    section: float = 2.0
    lifetime: int = 30
    patience: float = 120.0

    @property
    def request(self) -> tuple[float, float]:
        """To connect, and of silence, for a request that needs the lock.

        With `section` they end long before the lock does.
        """
        return self.lifetime / 6, self.lifetime / 3


TIMES = Times()


class Lock:
    """The right to replace an object of a plan.

    For one thread.

    :param path: of the object that is the lock.
    """

    def __init__(
        self, container: ObjectContainer, path: str, times: Times = TIMES
    ) -> None:
        self._container = container
        self._path = path
        self._times = times
        self._token = b""
        self._created = self._entered = 0.0

    def take(self) -> None:
        """Return when this is the only writer.

        It then is for half of `Times.section`: enough to begin one write.
        Each write takes the lock, which costs nothing while it is held.

        :raises PlanError: when others are for too long, or the object
            store fails. No `PlanConflict`: to begin anew does not help.
        """
        if self._token:
            if self._is_good(self._times.section / 2):
                return
            self.release()
        end = time.monotonic() + self._times.patience
        told = False
        while not self._taken():
            if time.monotonic() > end:
                raise self._container.error(
                    self._path,
                    "this lock has been there for"
                    f" {self._times.patience:.0f} s: others write to the"
                    " plan",
                    "try again when nobody else writes to the plan; if"
                    " nobody does, delete this object from the container",
                )
            if not told:
                _log.info(
                    "plan %s: waiting for another writer", self._container.name
                )
                told = True
            # Not in step with others who wait.
            time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - no secret

    @property
    def is_safe(self) -> bool:
        """Whether a write that begins now is the only one."""
        return bool(self._token) and self._is_good(self._times.section)

    def release(self, timeout: tuple[float, float] | None = None) -> None:
        """Let others write; nothing if it was not taken.

        :param timeout: with these seconds to connect, and of silence, one
            request at most is sent; None: as many, and for as long, as usual.
        :raises PlanError: when the object store fails; the server then
            forgets the lock after some time.
        """
        token, self._token = self._token, b""
        if not token:
            return
        age = time.monotonic() - self._created
        if age < self._times.section or (
            # It might be somebody else's by now.
            not timeout and age < self._times.lifetime / 2 and self._is(token)
        ):
            self._container.delete(self._path, timeout)

    def _taken(self) -> bool:
        """Try once."""
        token = secrets.token_hex(16).encode()
        begin = time.monotonic()
        if not self._container.create(
            self._path, token, {"X-Delete-After": str(self._times.lifetime)}
        ):
            return False
        # The store may have it since then, and counts its life from there.
        self._token, self._created = token, begin
        quick = time.monotonic() - begin < self._times.settle
        time.sleep(self._times.settle if quick else self._times.section)
        if not self._is(token):
            self._token = b""
            return False
        self._entered = time.monotonic()
        return True

    def _is_good(self, section: float) -> bool:
        """Whether it is that young, and far from its end."""
        now = time.monotonic()
        return (
            now - self._entered < section
            and now - self._created < self._times.lifetime / 3
        )

    def _is(self, token: bytes) -> bool:
        content, _ = self._container.get(self._path, newest=True)
        return content == token
