"""Replacing the containers of services, one after the other.

Before anything of a service is stopped, the journal says so on the disk and
a holder keeps what is needed to put the old container back. `Reverter` does
that, after a failure as well as after a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Callable, Iterable, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.programs.podman import (
    InspectedContainer,
    ListedContainer,
    Podman,
)
from imageprep_client.service import holding
from imageprep_client.service.declaration import Probe
from imageprep_client.service.journal import (
    HistoryEntry,
    StateDirectory,
    SwapJournal,
    SwapRecord,
    SwapState,
    now,
)
from imageprep_client.service.owners import Owner, TargetContainer
from imageprep_client.service.probing import HealthWatch

#: Seconds that a container which is given up has before SIGKILL.
_GIVEN_UP = 1
#: The owner of a service's container; given its name, its container, and the
#: unit that it is known to have had.
FindOwner = Callable[[str, InspectedContainer | None, str], Owner]


class OnFailure(enum.StrEnum):
    """The treatment of services when one does not get healthy."""

    REVERT_ALL = "revert-all"
    REVERT_ONE = "revert-one"
    STOP = "stop"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SwapPolicy:
    """How long to wait, and what to do about failures.

    :ivar min_healthy: seconds that a service must be healthy.
    :ivar healthy_deadline: seconds after which it is given up.
    :ivar keep: generations of each service that can be rolled back to.
    """

    min_healthy: float = 5.0
    healthy_deadline: float = 120.0
    on_failure: OnFailure = OnFailure.REVERT_ALL
    keep: int = 2


@dataclasses.dataclass(frozen=True, slots=True)
class ServiceSwap:
    """A container that is to be replaced.

    :ivar current: None when there is none.
    :ivar check: raises when the service must not be changed after all.
    """

    target: TargetContainer
    current: InspectedContainer | None
    owner: Owner
    health: Probe | None
    check: Callable[[], None]

    @property
    def name(self) -> str:
        return self.target.service.name


class Swapper:
    """Does swaps, and undoes them.

    :param find_owner: for containers that recovery finds.
    """

    def __init__(
        self,
        podman: Podman,
        state: StateDirectory,
        observer: Observer,
        find_owner: FindOwner,
    ) -> None:
        self._podman = podman
        self._state = state
        self._observer = observer
        self._find_owner = find_owner

    def run(
        self,
        action: str,
        swaps: Sequence[ServiceSwap],
        running: Iterable[str],
        policy: SwapPolicy,
    ) -> None:
        """Do all swaps, in this order.

        :param action: for the history.
        :param running: the services that run before.
        :raises PartialFailure: when one failed; then `policy` was followed.
        :raises ImagePrepError: when nothing was stopped.
        """
        if not swaps:
            return
        containers = self._podman.containers()
        records = tuple(self._planned(swap, containers) for swap in swaps)
        journal = SwapJournal(
            action=action, swaps=records, running=tuple(running)
        )
        self._state.write_journal(journal)
        for place, (swap, record) in enumerate(
            zip(swaps, records, strict=True)
        ):
            try:
                journal = self._swap(journal, swap, record, policy)
            except errors.ImagePrepError as error:
                self._failed(swap, error, policy, untouched=not place)
        self._state.close_journal()
        self.trim(policy.keep)

    def _planned(
        self, swap: ServiceSwap, containers: Sequence[ListedContainer]
    ) -> SwapRecord:
        current = swap.current
        newest = holding.holders(containers, swap.name)
        kept = [
            h.generation
            for h in self._state.history()
            if h.service == swap.name
        ]
        generation = 1 + max([0, *kept, *(h.generation for h in newest)])
        return SwapRecord(
            service=swap.name,
            old_id=current.id if current else "",
            old_running=bool(current and current.is_alive),
            old_digest=current.digest if current else "",
            new_digest=swap.target.digest,
            holder=holding.holder_name(swap.name, generation)
            if current
            else "",
            unit=swap.owner.unit,
        )

    def _swap(
        self,
        journal: SwapJournal,
        swap: ServiceSwap,
        record: SwapRecord,
        policy: SwapPolicy,
    ) -> SwapJournal:
        self._observer.note(f"{swap.name}: swapping")
        swap.check()
        if swap.current:
            holding.hold(
                self._podman, self._state, swap.current, record.holder
            )
        record = dataclasses.replace(record, state=SwapState.SWAPPING)
        journal = journal.with_swap(record)
        self._state.write_journal(journal)
        swap.owner.replace(swap.current, swap.target)
        reason = HealthWatch(
            self._podman,
            swap.name,
            swap.health,
            minimum=policy.min_healthy,
            deadline=policy.healthy_deadline,
        ).wait() or self._wrong_digest(swap)
        if reason:
            raise errors.StoreError(f"{swap.name}: {reason}")
        journal = journal.with_swap(
            dataclasses.replace(record, state=SwapState.DONE)
        )
        self._state.write_journal(journal)
        self._state.record([_entry(journal, record, "done")])
        self._observer.note(f"{swap.name}: runs {record.new_digest}")
        return journal

    def _wrong_digest(self, swap: ServiceSwap) -> str:
        container = self._podman.container(swap.name)
        if container and container.digests & swap.target.digests:
            return ""
        digest = container.digest if container else ""
        return (
            f"runs {digest or 'nothing'} and not the image that it was given"
        )

    def _failed(
        self,
        swap: ServiceSwap,
        error: errors.ImagePrepError,
        policy: SwapPolicy,
        *,
        untouched: bool,
    ) -> None:
        """Follow the policy, and raise what a swap failed for."""
        journal = self._state.journal()
        if journal is None:
            raise error
        record = next(r for r in journal.swaps if r.service == swap.name)
        if record.state is SwapState.PLANNED and untouched:
            self.revert(journal, str(error))
            raise error
        if policy.on_failure is OnFailure.STOP:
            self._state.record([_entry(journal, record, "failed", str(error))])
            self._state.close_journal()
            raise errors.PartialFailure(
                f"{error}; it was left as it is, and the services after it"
                " were not touched",
                [],
            ) from error
        everything = policy.on_failure is OnFailure.REVERT_ALL
        journal = dataclasses.replace(journal, revert_all=everything)
        self._state.write_journal(journal)
        reverted = self.revert(journal, str(error))
        told = ", ".join(reverted) or "nothing"
        raise errors.PartialFailure(
            f"{error}; the old containers are back: {told}", []
        ) from error

    def revert(self, journal: SwapJournal, reason: str) -> list[str]:
        """Put back what was not finished, the newest first.

        :param reason: for the history.
        :returns: the services whose old container runs again.
        :raises PartialFailure: when some could not be put back; the journal
            stays.
        """
        reverted = []
        failures: list[errors.ImagePrepError] = []
        undone = [
            record
            for record in reversed(journal.swaps)
            if record.state is not SwapState.DONE or journal.revert_all
        ]
        self.remove_leftovers(
            name
            for record in undone
            for name in (record.service, record.holder)
        )
        for record in undone:
            try:
                if self._revert(record):
                    reverted.append(record.service)
                    self._state.record(
                        [_entry(journal, record, "reverted", reason)]
                    )
                    journal = journal.with_swap(
                        dataclasses.replace(record, state=SwapState.REVERTED)
                    )
                    self._state.write_journal(journal)
            except errors.ImagePrepError as error:
                failures.append(error)
        for name in journal.running:
            try:
                self._revive(name)
            except errors.ImagePrepError as error:
                failures.append(error)
        if failures:
            raise errors.PartialFailure(
                f"{reason}; not everything could be put back", failures
            )
        # A holder is needed until the journal says that it is not.
        for record in undone:
            self._drop(record.holder)
        self._state.close_journal()
        return list(reversed(reverted))

    def _revert(self, record: SwapRecord) -> bool:
        """Put back the old container of a service.

        :returns: whether it had to be.
        """
        if record.state in (SwapState.PLANNED, SwapState.REVERTED):
            return False
        current = self._podman.container(record.service)
        owner = self._find_owner(record.service, current, record.unit)
        if current and current.id == record.old_id:
            unsettled = current.state == "stopping" or not current.is_alive
            if record.old_running and unsettled:
                owner.stop(current)
                owner.start(record.service)
        elif record.holder:
            given_up = None if record.state is SwapState.DONE else _GIVEN_UP
            owner.replace(current, self._old(record), given_up)
        elif current:
            owner.remove(current, _GIVEN_UP)
        return True

    def _old(self, record: SwapRecord) -> TargetContainer:
        return old_target(
            holding.held(self._podman, record.holder), runs=record.old_running
        )

    def _drop(self, holder: str) -> None:
        if holder and self._podman.container(holder):
            self._podman.remove(holder, seconds=0)

    def _revive(self, name: str) -> None:
        """Start a service that ran before and does not now."""
        container = self._podman.container(name)
        if container and not container.is_alive:
            owner = self._find_owner(name, container, "")
            owner.stop(container)
            owner.start(name)

    def remove_leftovers(self, names: Iterable[str]) -> None:
        """Remove storage that a killed ``podman create`` or ``rm`` left."""
        wanted = set(names)
        for container in self._podman.containers():
            if wanted.isdisjoint(container.names):
                continue
            if container.state in ("storage", "removing"):
                self._podman.remove(container.id, seconds=0)

    def trim(self, keep: int) -> None:
        """Remove the oldest holders, but for so many of each service."""
        kept: dict[str, int] = {}
        for holder in holding.holders(self._podman.containers()):
            kept[holder.service] = kept.get(holder.service, 0) + 1
            if kept[holder.service] > keep:
                with contextlib.suppress(errors.LocalStorageError):
                    self._podman.remove(holder.name, seconds=0)


def old_target(
    old: holding.OldService, *, runs: bool = True
) -> TargetContainer:
    """The container that a holder has kept."""
    return TargetContainer(
        old.service,
        old.image.id,
        old.digest,
        old.image.digests,
        old.environment,
        runs,
    )


def _entry(
    journal: SwapJournal, record: SwapRecord, outcome: str, reason: str = ""
) -> HistoryEntry:
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
