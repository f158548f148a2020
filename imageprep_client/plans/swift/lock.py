"""A lock object in Swift that admits one writer at a time.

Swift has no conditional replacement of an object. It can refuse to create an
object that exists, and delete one at a given time. The check for existence
comes some time before the object is stored, so two writers may both succeed.
A writer therefore waits after it created the lock for as long as another
creation may take, and then reads whose lock it is. See ADR 10.
"""

from __future__ import annotations

import dataclasses
import logging
import random
import secrets
import time

from imageprep_client.cloud.object_store import ObjectContainer

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Times:
    """Times in seconds, equal for all writers of a plan.

    :ivar settle: the wait before the lock is read back, for a writer that
        created it within this time.
    :ivar section: the time for which the lock is valid, and the wait of a
        writer that took longer than `settle` to create it.
    :ivar lifetime: whole seconds after which the server deletes the lock of
        a killed writer.
    :ivar patience: the longest wait for other writers.
    """

    settle: float = 0.3
    section: float = 2.0
    lifetime: int = 30
    patience: float = 120.0

    @property
    def request(self) -> tuple[float, float]:
        """Timeouts to connect and to read, for a request under the lock.

        Together with `section` they end long before the lock does.
        """
        return self.lifetime / 6, self.lifetime / 3


TIMES = Times()


class Lock:
    """The right to replace an object of a plan; used by one thread.

    :param path: of the lock object.
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
        """Acquire the lock, unless it is held.

        It is then held for half of `Times.section`, long enough to begin
        one write. Every write calls this.

        :raises PlanError: when other writers hold it for too long, or the
            object store fails. It is no `PlanConflict`: a new attempt would
            not help.
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
            # Not in step with other waiting writers.
            time.sleep(random.uniform(0.05, 0.15))  # noqa: S311 - no secret

    @property
    def is_safe(self) -> bool:
        """Whether the lock is valid for a write that begins now."""
        return bool(self._token) and self._is_good(self._times.section)

    def release(self, timeout: tuple[float, float] | None = None) -> None:
        """Release the lock, if it is held.

        :param timeout: seconds to connect and to read, for a single request;
            None retries as usual.
        :raises PlanError: when the object store fails, or there is no time
            to find out whose an old lock is; the server deletes it after some
            time.
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
        elif timeout and age < self._times.lifetime:
            raise self._container.error(
                self._path, "is old, and may be another writer's by now"
            )

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
        """Whether the lock is younger than this, and far from its end."""
        now = time.monotonic()
        return (
            now - self._entered < section
            and now - self._created < self._times.lifetime / 3
        )

    def _is(self, token: bytes) -> bool:
        content, _ = self._container.get(self._path, newest=True)
        return content == token
