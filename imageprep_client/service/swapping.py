"""Replacing the containers of services, one after the other.

Before a service is stopped, the journal on the disk records it, and a holder
keeps what is needed to restore the old container. `Reverter` restores it after
a failure or a crash.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from imageprep_client import errors
from imageprep_client.programs.podman import (
    InspectedContainer,
    ListedContainer,
)
from imageprep_client.service import holding
from imageprep_client.service.declaration import Probe
from imageprep_client.service.holding import TargetContainer
from imageprep_client.service.journal import SwapJournal, SwapRecord, SwapState
from imageprep_client.service.owners import Owner
from imageprep_client.service.probing import HealthWatch
from imageprep_client.service.reverting import Reverter, entry, named
from imageprep_client.service.units import ServiceHost


class OnFailure(enum.StrEnum):
    """The treatment of services when one does not become healthy."""

    REVERT_ALL = "revert-all"
    REVERT_ONE = "revert-one"
    STOP = "stop"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SwapPolicy:
    """The time limits of replacements, and the treatment of failures.

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
    :ivar depends_on: the services that it depends on, also by others.
    :ivar check: raises when the service must not be changed after all.
    """

    target: TargetContainer
    current: InspectedContainer | None
    owner: Owner
    health: Probe | None
    depends_on: frozenset[str] = frozenset()
    check: Callable[[], None] = lambda: None

    @property
    def name(self) -> str:
        return self.target.service.name


class SwapOutcome(enum.StrEnum):
    """The outcome of the change of one service."""

    UNTOUCHED = "untouched"
    DONE = "done"
    FAILED = "failed"
    REVERTED = "reverted"


class Swapper:
    """Replaces containers, and reverts replacements.

    :ivar outcomes: of the swaps that were begun, by service.
    """

    def __init__(self, host: ServiceHost) -> None:
        self._podman = host.podman
        self._state = host.state
        self._observer = host.observer
        self._reverter = Reverter(host)
        self.outcomes: dict[str, SwapOutcome] = {}

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
        generations = self._generations(containers)
        records = tuple(_planned(swap, generations) for swap in swaps)
        journal = SwapJournal(
            action=action, swaps=records, running=tuple(running)
        )
        self._state.write_journal(journal)
        try:
            for place, swap in enumerate(swaps):
                try:
                    journal = self._swap(
                        journal, swap, _attached(swap, swaps), policy
                    )
                except errors.ImagePrepError as error:
                    self._failed(swap, error, policy, untouched=not place)
        except errors.ImagePrepError:
            raise
        except (KeyboardInterrupt, Exception):
            self._interrupted()
            raise
        self._state.close_journal()
        self.trim(policy.keep)

    def renew(self, action: str, swap: ServiceSwap) -> None:
        """Make a container again; nothing is watched or kept of it."""
        generations = self._generations(self._podman.containers())
        record = _planned(swap, generations)
        journal = SwapJournal(action=action, swaps=(record,))
        self._begin(journal, swap)
        if swap.owner.declares_options and swap.current:
            # The file of the owner stays as it is.
            swap.owner.remove(swap.current)
            if swap.target.runs:
                swap.owner.start(swap.name)
        else:
            swap.owner.replace(swap.current, swap.target)
        self._state.close_journal()
        self._podman.discard(record.holder)

    def _generations(
        self, containers: Sequence[ListedContainer]
    ) -> dict[str, int]:
        """The highest number that a generation of each service had."""
        known = [
            *((one.service, one.generation) for one in self._state.history()),
            *(
                (one.service, one.generation)
                for one in holding.holders(containers)
            ),
        ]
        highest: dict[str, int] = {}
        for service, generation in known:
            highest[service] = max(generation, highest.get(service, 0))
        return highest

    def _swap(
        self,
        journal: SwapJournal,
        swap: ServiceSwap,
        attached: Sequence[ServiceSwap],
        policy: SwapPolicy,
    ) -> SwapJournal:
        self._observer.note(f"{swap.name}: swapping")
        record = journal.swap(swap.name)
        removed = record.state is SwapState.SWAPPING
        if not removed:
            swap.check()
            journal = self._begin(journal, swap)
        for other in reversed(attached):
            if journal.swap(other.name).state is SwapState.PLANNED:
                other.check()
                journal = self._begin(journal, other)
                if other.current:
                    with named(other.name):
                        other.owner.remove(other.current)
        with named(swap.name):
            swap.owner.replace(None if removed else swap.current, swap.target)
        if swap.target.runs and (reason := self._fault(swap, policy)):
            raise errors.StoreError(f"{swap.name}: {reason}")
        record = dataclasses.replace(
            journal.swap(swap.name), state=SwapState.DONE
        )
        journal = journal.with_swap(record)
        self._state.write_journal(journal)
        self._state.record([entry(journal, record, "done")])
        self.outcomes[swap.name] = SwapOutcome.DONE
        self._observer.note(f"{swap.name}: runs {record.new_digest}")
        return journal

    def _begin(self, journal: SwapJournal, swap: ServiceSwap) -> SwapJournal:
        """Keep the old container, and record that it may be stopped."""
        record = journal.swap(swap.name)
        if swap.current:
            holding.hold(
                self._podman, self._state, swap.current, record.holder
            )
        journal = journal.with_swap(
            dataclasses.replace(record, state=SwapState.SWAPPING)
        )
        self._state.write_journal(journal)
        self.outcomes[swap.name] = SwapOutcome.FAILED
        return journal

    def _fault(self, swap: ServiceSwap, policy: SwapPolicy) -> str:
        """The fault of a started service; empty if there is none."""
        reason = HealthWatch(
            self._podman,
            swap.name,
            swap.health,
            minimum=policy.min_healthy,
            deadline=policy.healthy_deadline,
        ).wait()
        if reason:
            return reason
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
    ) -> NoReturn:
        """Follow the policy, and raise the error of a swap."""
        journal = self._state.journal()
        if journal is None:
            raise error
        record = journal.swap(swap.name)
        if record.state is SwapState.PLANNED and untouched:
            self.revert(journal, str(error))
            raise error
        if policy.on_failure is OnFailure.STOP:
            self._reverter.note(
                journal, [entry(journal, record, "failed", str(error))]
            )
            self._state.close_journal()
            removed = [
                one.service
                for one in journal.swaps
                if one.state is SwapState.SWAPPING and one != record
            ]
            told = f"{error}; it was left as it is"
            if removed:
                told += f", without {', '.join(removed)} that shared with it"
            raise errors.PartialFailure(
                f"{told}, and the services after it were not changed",
                hint=error.hint,
            ) from error
        everything = policy.on_failure is OnFailure.REVERT_ALL
        journal = dataclasses.replace(journal, revert_all=everything)
        self._reverter.note(journal, [])
        reverted = self.revert(journal, str(error))
        old = [name for name in reverted if journal.swap(name).old_id]
        told = "no old container had to be restored"
        if old:
            told = f"the old containers were restored: {', '.join(old)}"
        raise errors.PartialFailure(
            f"{error}; {told}", hint=error.hint
        ) from error

    def _interrupted(self) -> None:
        """Restore what is not finished when the user ends the command."""
        journal = self._state.journal()
        if journal is None:
            return
        self._observer.warning("stopped; restoring what is not finished")
        for name in self.revert(journal, f"the {journal.action} was stopped"):
            self._observer.warning(f"{name}: the old container was restored")

    def revert(self, journal: SwapJournal, reason: str) -> list[str]:
        """Put back what was not finished; see `Reverter.revert`."""
        reverted = self._reverter.revert(journal, reason)
        self.outcomes |= dict.fromkeys(reverted, SwapOutcome.REVERTED)
        return reverted

    def trim(self, keep: int) -> None:
        """Remove the oldest holders, but for so many of each service."""
        kept: dict[str, int] = {}
        for holder in holding.holders(self._podman.containers()):
            kept[holder.service] = kept.get(holder.service, 0) + 1
            if kept[holder.service] > keep:
                with contextlib.suppress(errors.LocalStorageError):
                    self._podman.discard(holder.name)


def _planned(swap: ServiceSwap, generations: Mapping[str, int]) -> SwapRecord:
    current = swap.current
    generation = 1 + generations.get(swap.name, 0)
    return SwapRecord(
        service=swap.name,
        old_id=current.id if current else "",
        old_running=bool(current and current.is_alive),
        old_digest=current.digest if current else "",
        new_digest=swap.target.digest,
        holder=holding.holder_name(swap.name, generation) if current else "",
        unit=swap.owner.unit,
        configured=swap.owner.configured,
        depends_on=tuple(sorted(swap.depends_on)),
    )


def _attached(
    swap: ServiceSwap, swaps: Sequence[ServiceSwap]
) -> list[ServiceSwap]:
    """The swaps of containers that share namespaces with that of another.

    podman lets no container be removed before those.
    """
    ids = {swap.current.id} if swap.current else set()
    attached = []
    for other in swaps:
        if other.current and other.current.dependencies & ids:
            ids.add(other.current.id)
            attached.append(other)
    return attached
