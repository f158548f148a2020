"""Restoring the containers that a command has replaced.

New containers are removed first, each before those that it depends on. Then
the old ones are restored in the opposite order. Services that do not depend on
each other are restored concurrently, as podman takes longer to start than to
work.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.programs.podman import (
    InspectedContainer,
    ListedContainer,
    Podman,
)
from imageprep_client.service import holding
from imageprep_client.service.holding import TargetContainer
from imageprep_client.service.journal import (
    HistoryEntry,
    SwapJournal,
    SwapRecord,
    SwapState,
    now,
)
from imageprep_client.service.owners import Owner
from imageprep_client.service.units import ServiceHost

#: Seconds that a container which is given up has before SIGKILL.
_GIVEN_UP = 1
#: The maximum number of services that are restored at once.
_WORKERS = 8


@dataclasses.dataclass(frozen=True, slots=True)
class _Undoing:
    """A service whose old container is restored.

    :ivar current: the container of its name; None when there is none.
    :ivar old: None when there was none, or when it can be started as it is.
    """

    record: SwapRecord
    owner: Owner
    current: InspectedContainer | None
    old: TargetContainer | None

    def take_down(self) -> None:
        """Remove what took the place of the old container."""
        current = self.current
        if current is None:
            with named(self.record.service):
                self.owner.halt()
            return
        if self.old or current.id != self.record.old_id:
            done = self.record.state is SwapState.DONE
            with named(current.name):
                self.owner.remove(current, None if done else _GIVEN_UP)
        elif self._is_unsettled(current):
            with named(current.name):
                self.owner.stop(current)

    def put_back(self) -> None:
        """Restore the old container, and start it if it ran before."""
        current = self.current
        with named(self.record.service):
            if self.old:
                self.owner.create(self.old)
                if self.old.runs:
                    self.owner.start(self.record.service)
                return
            self.owner.configure(self.record.configured)
            if (
                current
                and current.id == self.record.old_id
                and self._is_unsettled(current)
            ):
                self.owner.start(self.record.service)

    def _is_unsettled(self, old: InspectedContainer) -> bool:
        """Whether the old container was about to be stopped."""
        stops = old.state == "stopping" or not old.is_alive
        return self.record.old_running and stops


class Reverter:
    """Restores services after a failure or a crash."""

    def __init__(self, host: ServiceHost) -> None:
        self._podman = host.podman
        self._state = host.state
        self._observer = host.observer
        self._find_owner = host.owner

    def note(
        self, journal: SwapJournal, entries: Sequence[HistoryEntry]
    ) -> None:
        """Record progress, unless that fails: services come first.

        Without it, the next command may restore a service once more.
        """
        try:
            self._state.write_journal(journal)
            self._state.record(entries)
        except errors.ImagePrepError as error:
            hint = f" ({error.hint})" if error.hint else ""
            self._observer.warning(f"not recorded: {error}{hint}")

    def revert(self, journal: SwapJournal, reason: str) -> list[str]:
        """Restore what was not finished.

        :param reason: for the history.
        :returns: the services whose old container is back.
        :raises PartialFailure: when some could not be restored; the journal
            stays.
        """
        undone = [
            record
            for record in journal.swaps
            if record.state is not SwapState.DONE or journal.revert_all
        ]
        changed = [
            record
            for record in undone
            if record.state in (SwapState.SWAPPING, SwapState.DONE)
        ]
        containers = self._containers(undone)
        failures: list[errors.ImagePrepError] = []
        undoings = self._undoings(changed, containers, failures)
        waves = [
            [undoings[one.service] for one in wave if one.service in undoings]
            for wave in in_waves(changed)
        ]
        reverted = []
        with concurrent.futures.ThreadPoolExecutor(_WORKERS) as pool:
            for wave in reversed(waves):
                failed = _at_once(pool, _Undoing.take_down, wave, failures)
                for one in failed:
                    del undoings[one.record.service]
            for wave in waves:
                left = [
                    one
                    for one in wave
                    if undoings.get(one.record.service) is one
                ]
                failed = _at_once(pool, _Undoing.put_back, left, failures)
                back = [one.record for one in left if one not in failed]
                journal = self._reverted(journal, back, reason)
                reverted += [record.service for record in back]
        self._revive(journal.running, failures)
        if failures:
            raise errors.PartialFailure(
                f"{reason}; not everything could be restored", failures
            )
        # An open journal may demand its holders.
        self._state.close_journal()
        dropped = [one.holder for one in undone if one.holder in containers]
        if dropped:
            self._podman.discard(*dropped)
        return reverted

    def _containers(
        self, undone: Sequence[SwapRecord]
    ) -> dict[str, InspectedContainer]:
        """The containers and holders of services, without half ones."""
        names = {
            name
            for record in undone
            for name in (record.service, record.holder)
            if name
        }
        containers = self._podman.containers()
        remove_leftovers(self._podman, containers, names)
        known = {
            name
            for one in containers
            if one.state not in holding.HALF
            for name in one.names
        }
        return self._podman.inspected(names & known)

    def _undoings(
        self,
        changed: Sequence[SwapRecord],
        containers: dict[str, InspectedContainer],
        failures: list[errors.ImagePrepError],
    ) -> dict[str, _Undoing]:
        """The steps by service; an impossible one is a failure."""
        images = self._podman.images(
            {
                containers[one.holder].image_id
                for one in changed
                if one.holder in containers
            }
        )
        undoings = {}
        for record in changed:
            current = containers.get(record.service)
            try:
                target = None
                is_old = current and current.id == record.old_id
                if record.holder and not (
                    current and is_old and not current.is_lost
                ):
                    holder = containers.get(record.holder)
                    target = holding.held(
                        record.holder, holder, images, runs=record.old_running
                    )
                owner = self._find_owner(record.service, current, record.unit)
            except errors.ImagePrepError as error:
                failures.append(error)
                continue
            undoings[record.service] = _Undoing(record, owner, current, target)
        return undoings

    def _reverted(
        self, journal: SwapJournal, back: Sequence[SwapRecord], reason: str
    ) -> SwapJournal:
        """Record that these are back."""
        if not back:
            return journal
        for record in back:
            journal = journal.with_swap(
                dataclasses.replace(record, state=SwapState.REVERTED)
            )
        self.note(
            journal,
            [entry(journal, record, "reverted", reason) for record in back],
        )
        return journal

    def _revive(
        self, names: Sequence[str], failures: list[errors.ImagePrepError]
    ) -> None:
        """Start the services that ran before and do not now."""
        containers = self._podman.inspected(names)
        for name, container in containers.items():
            # A lost container is made again afterwards.
            if container.is_alive or container.is_lost:
                continue
            try:
                owner = self._find_owner(name, container)
                owner.stop(container)
                owner.start(name)
            except errors.ImagePrepError as error:
                failures.append(error)


def remove_leftovers(
    podman: Podman,
    containers: Iterable[ListedContainer],
    names: Collection[str],
) -> list[str]:
    """Remove what a killed ``podman create`` or ``podman rm`` left.

    :param containers: all that there are.
    :param names: those of services and holders.
    :returns: the names of what was removed.
    """
    half = [
        one
        for one in containers
        if one.state in holding.HALF and not set(names).isdisjoint(one.names)
    ]
    if half:
        podman.remove(*(one.id for one in half), seconds=0)
    return [name for one in half for name in one.names]


def in_waves(records: Sequence[SwapRecord]) -> list[list[SwapRecord]]:
    """Records in waves: each depends on none of its own or a later wave."""
    left = {record.service: record for record in records}
    waves = []
    while left:
        wave = [
            record
            for record in left.values()
            if left.keys().isdisjoint(record.depends_on)
        ] or list(left.values())
        waves.append(wave)
        for record in wave:
            del left[record.service]
    return waves


def _at_once(
    pool: concurrent.futures.Executor,
    act: Callable[[_Undoing], None],
    wave: Sequence[_Undoing],
    failures: list[errors.ImagePrepError],
) -> list[_Undoing]:
    """Act on all services of a wave at once; those that failed."""
    failed = []
    futures = [(one, pool.submit(act, one)) for one in wave]
    for one, future in futures:
        try:
            future.result()
        except errors.ImagePrepError as error:
            failures.append(error)
            failed.append(one)
    return failed


@contextlib.contextmanager
def named(service: str) -> Iterator[None]:
    """Prefix errors of programs with the name of a service."""
    try:
        yield
    except errors.StoreError as error:
        raise errors.StoreError(
            f"{service}: {error}", hint=error.hint
        ) from error


def entry(
    journal: SwapJournal, record: SwapRecord, outcome: str, reason: str = ""
) -> HistoryEntry:
    """The entry of a swap for the history."""
    generation = holding.Holder.of(record.holder)
    return HistoryEntry(
        time=now(),
        service=record.service,
        action=journal.action,
        outcome=outcome,
        old_digest=record.old_digest,
        new_digest=record.new_digest,
        generation=generation.generation if generation else 0,
        reason=reason,
    )
