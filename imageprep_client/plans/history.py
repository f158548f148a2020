"""Earlier parameters of a plan, kept beside it.

Each revision is a numbered file in `base.HISTORY` with the bytes that were
replaced. The present parameters have the number after the last file. A number
is used once, so concurrent writers cannot overwrite each other's revisions.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.plans import base, files
from imageprep_client.plans.files import PlanFile, PlanFiles
from imageprep_client.plans.revision import State

_NAME = re.compile(rf"{re.escape(base.HISTORY)}/(\d{{4,9}})\.yaml")
# Others may take numbers at the same time; not so many.
_TRIES = 5


def path(number: int) -> str:
    """The path of a kept revision."""
    return f"{base.HISTORY}/{number:04}.yaml"


@dataclasses.dataclass(frozen=True, slots=True)
class States:
    """The kept states of a plan's parameters.

    :ivar by_number: the oldest first; an unreadable one is a broken state.
    :ivar present: the number of the present parameters; 0 without any.
    """

    by_number: Mapping[int, State]
    present: int = 0

    def changes(self, number: int) -> Sequence[base.ParameterChange] | None:
        """The changes of a revision; None when they are not known."""
        state = self.by_number[number]
        before = self.by_number.get(number - 1)
        # Before the first there was none.
        known = number == 1 if before is None else not before.problem
        return state.changes(before) if known and not state.problem else None


class History:
    """The earlier parameters of one plan.

    :param kept: the number of revisions to keep, at least 1. One more is
        kept to show the changes of the oldest.
    """

    def __init__(self, kept_in: PlanFiles, kept: int) -> None:
        self._files = kept_in
        self._kept = kept

    def keep(self, present: PlanFile) -> None:
        """Keep parameters that are about to be replaced; drop the oldest.

        :raises PlanError, NoSpace: when they cannot be kept.
        """
        numbers = self._numbers()
        last = numbers[-1] if numbers else 0
        if last and self._has(last, present):
            return  # it was kept by a write that then failed
        for number in range(last + 1, last + 1 + _TRIES):
            if self._takes(number, present):
                break
        else:
            raise files.conflict(self._files, base.HISTORY)
        for number in numbers[: -self._kept]:
            self._files.delete(path(number))

    def states(self, present: PlanFile | None) -> States:
        """Read the kept states and add the present one.

        :raises PlanError: when the plan cannot be read.
        """
        # One more than is shown, for the changes of the oldest one.
        numbers = self._numbers()[-self._kept - 1 :]
        together = document.DocumentBudget()
        states = {
            number: State(stored.content, together)
            if isinstance(stored, PlanFile)
            else State.broken(stored)
            for number, stored in self._read(numbers).items()
        }
        if present is None:
            return States(states)
        last = max(states, default=0)
        # It is kept already when a write began and then failed.
        kept = last and states[last].content == present.content
        number = last if kept else last + 1
        return States({**states, number: State(present.content)}, number)

    def revisions(self, states: States) -> Sequence[base.Revision]:
        """Describe these states, the newest first, without the oldest."""
        revisions = [
            base.Revision(
                number,
                number == states.present,
                state.time,
                state.command,
                states.changes(number),
                state.problem,
            )
            for number, state in reversed([*states.by_number.items()])
        ]
        return revisions[: self._kept + bool(states.present)]

    def _read(self, numbers: Sequence[int]) -> dict[int, PlanFile | str]:
        """Read revisions; the reason for those that cannot be read."""
        paths = [path(number) for number in numbers]
        stored: Mapping[str, PlanFile | str | None]
        try:
            stored = self._files.read_many(paths)
        except errors.PlanError:
            # Another look, to find out which of them it is.
            total = files.Total(self._files)
            stored = {name: self._read_one(name, total) for name in paths}
        # Another writer may have dropped one in between.
        return {
            number: revision
            for number, name in zip(numbers, paths, strict=True)
            if (revision := stored.get(name)) is not None
        }

    def _read_one(
        self, name: str, total: files.Total
    ) -> PlanFile | str | None:
        try:
            return total.add(name, self._files.read(name))
        except errors.PlanError as error:
            return str(error)

    def _numbers(self) -> list[int]:
        """The numbers of the kept revisions, in order."""
        numbers = []
        for name in self._files.names(base.HISTORY):
            match = _NAME.fullmatch(name)
            number = int(match[1]) if match else 0
            if number and name == path(number):
                numbers.append(number)
        return sorted(numbers)

    def _takes(self, number: int, present: PlanFile) -> bool:
        """Keep this under a number; False when the number is taken."""
        try:
            self._files.write(path(number), present.content, replaces=None)
        except errors.PlanConflict:
            # Another writer may have kept the same.
            return self._has(number, present)
        return True

    def _has(self, number: int, present: PlanFile) -> bool:
        """Whether this is what is kept under a number."""
        kept = self._read_one(path(number), files.Total(self._files))
        return isinstance(kept, PlanFile) and kept.content == present.content
