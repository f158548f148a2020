"""Plans that are containers of an object store."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.cloud import answers
from imageprep_client.cloud.object_store import (
    ObjectContainer,
    ObjectStore,
    Unsettled,
    can_be_plan,
)
from imageprep_client.plans import files
from imageprep_client.plans.files import PlanFile
from imageprep_client.plans.swift import at_once
from imageprep_client.plans.swift.lock import TIMES, Lock, Times
from imageprep_client.retry import RetryPolicy

#: Metadata, and its value, of a container that is a plan.
USAGE = "X-Container-Meta-Usage-Tripleo"
PLAN = "plan"
#: Beside the history; heat never reads it.
LOCK = ".image-prepare/lock"
PROBE = ".image-prepare/probe"
#: For sending an object.
_SENDS = RetryPolicy(attempts=5)
#: Timeouts to connect and to read when an interrupt releases the lock.
_HURRY = (0.3, 0.6)

_log = logging.getLogger(__name__)


class SwiftFiles:
    """The objects of a container.

    Writers within `locked` take turns: each write acquires a lock, an object
    in the container, unless it is held. A writer without the lock is noticed
    until the moment before an object is replaced. Readers do not wait and see
    each object before or after a write.

    :param times: of the lock.
    """

    def __init__(
        self, store: ObjectStore, name: str, times: Times = TIMES
    ) -> None:
        self.name = name
        self._store = store
        self._container = ObjectContainer(store, name)
        self._times = times
        self._lock = Lock(self._container, LOCK, times)
        # Of the threads of this process, which share that one.
        self._threads = threading.Lock()
        self._writer: int | None = None
        self._is_plan = False

    def read(self, path: str) -> PlanFile | None:
        return self._read(path, newest=True)

    def read_many(self, paths: Iterable[str]) -> Mapping[str, PlanFile | None]:
        names = list(dict.fromkeys(paths))
        total = files.Total(self)
        contents = at_once.each(
            lambda path: total.add(path, self._read(path)), names
        )
        return dict(zip(names, contents, strict=True))

    def write(
        self, path: str, content: bytes, *, replaces: PlanFile | None
    ) -> None:
        if replaces is not None:
            self._replace(path, content, replaces.version)
            return
        if self._writes:
            self._lock.take()
        if not self._container.create(path, content, {}):
            raise files.conflict(self, path)

    def delete(self, path: str) -> None:
        self._container.delete(path)

    def names(self, folder: str) -> Sequence[str]:
        return list(self._container.names(folder))

    def check_writable(self, paths: Iterable[str]) -> None:
        """Try to write, since only owners can read the access rights.

        Rights are those of the container, so one request is enough. It
        needs no lock.
        """
        self._container.check_writable(PROBE)

    @contextlib.contextmanager
    def locked(self, *, exclusive: bool) -> Iterator[None]:
        """Check that it is a plan; `write` then acquires the lock."""
        self._check()
        if not exclusive:
            yield
            return
        with self._threads:
            self._writer = threading.get_ident()
            try:
                yield
            except KeyboardInterrupt:
                self._release(_HURRY)
                raise
            finally:
                self._writer = None
                self._release()

    def forget_cached(self) -> Sequence[errors.PlanError]:
        """The cache is in a container that all plans share, or in the plan.

        A user who may write to the plan may have no right to the former.
        """
        path = files.cached(self.name)
        name, _, shared_path = path.partition("/")
        shared = ObjectContainer(self._store, name, "container")
        return files.failures(
            [
                functools.partial(shared.delete, shared_path),
                functools.partial(self._container.delete, path),
            ]
        )

    @property
    def _writes(self) -> bool:
        """Whether this thread writes under the lock."""
        return self._writer == threading.get_ident()

    def _replace(self, path: str, content: bytes, version: str) -> None:
        """Replace the object of this version, also with an unreliable store.

        A failed request is not simply repeated: the lock may have ended and
        others may have written since, or the request may have succeeded.
        """
        sent = itertools.count()
        _SENDS.repeat(
            lambda: self._send(path, content, version, again=next(sent) > 0),
            Unsettled,
        )

    def _send(
        self, path: str, content: bytes, version: str, *, again: bool
    ) -> None:
        """Try once.

        :raises Unsettled: when it failed for now, or the lock is too old.
        """
        if self._writes:
            self._lock.take()
        present = self._container.head(path)
        if again and present and present.etag == answers.md5(content):
            return
        if present is None or present.etag != version:
            raise files.conflict(self, path)
        if self._writes and not self._lock.is_safe:
            raise Unsettled(
                f"plan {self.name}: {path}: the object store is too slow to"
                " write under a lock"
            )
        self._container.put(path, content, present.kept, self._times.request)

    def _read(self, path: str, *, newest: bool = False) -> PlanFile | None:
        content, etag = self._container.get(path, newest=newest)
        return PlanFile(content, etag) if etag else None

    def _check(self) -> None:
        """Check once that it is a plan."""
        if self._is_plan:
            return
        metadata = self._container.metadata()
        hint = "openstack image-prepare plan list shows the plans"
        if metadata is None:
            raise self._container.error(
                "", "no such plan: there is no container of this name", hint
            )
        if metadata.get(USAGE) != PLAN:
            raise self._container.error(
                "",
                "is no deployment plan: the container has no metadata"
                f" {USAGE.lower()}: {PLAN}",
                hint,
            )
        self._is_plan = True

    def _release(self, timeout: tuple[float, float] | None = None) -> None:
        try:
            self._lock.release(timeout)
        except errors.PlanError as error:
            # The write succeeded, or raises its own error.
            _log.warning(
                "%s; others wait %d s before they write", error, TIMES.lifetime
            )


def plans(store: ObjectStore) -> Sequence[SwiftFiles]:
    """All plans, sorted by name.

    :raises PlanError: when the object store fails.
    """
    # Containers of others may have names that no plan can have.
    names = [name for name in store.containers() if can_be_plan(name)]

    def is_plan(name: str) -> bool:
        metadata = ObjectContainer(store, name).metadata()
        return metadata is not None and metadata.get(USAGE) == PLAN

    marked = itertools.compress(names, at_once.each(is_plan, names))
    return [SwiftFiles(store, name) for name in sorted(marked)]
