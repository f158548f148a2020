"""The plan, however its files are kept."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import parameters as heat_parameters
from imageprep_client.plans import base, content
from imageprep_client.plans.files import PlanFiles, conflict
from imageprep_client.plans.history import History, States
from imageprep_client.plans.history import path as history_path
from imageprep_client.plans.revision import State
from imageprep_client.retry import RetryPolicy

#: Attempts of a write while other writers are faster.
ATTEMPTS = 5
_WRITES = RetryPolicy(attempts=ATTEMPTS, base=0.0)

_log = logging.getLogger(__name__)


class StoredPlan:
    """A `base.Plan` over files.

    :param kept: the number of earlier parameters to keep, at least 1.
    """

    def __init__(self, files: PlanFiles, kept: int = base.KEPT) -> None:
        self._files = files
        self._history = History(files, kept)

    @property
    def name(self) -> str:
        return self._files.name

    def read(self) -> base.PlanContent:
        with self._files.locked(exclusive=False):
            environment = self._environment()
            stored = self._files.read_many([*environment.paths, base.ROLES])
        if stored[base.ROLES] is None:
            _log.info(
                "plan %s: no %s: images of all services count, unless roles"
                " come from elsewhere",
                self.name,
                base.ROLES,
            )
        return environment.content(stored)

    def check_writable(self) -> None:
        with self._files.locked(exclusive=False):
            paths = [base.PARAMETERS, history_path(1)]
            if base.PARAMETERS not in self._environment().paths:
                paths.append(base.PLAN_ENVIRONMENT)
            self._files.check_writable(paths)

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> base.Written:
        text = heat_parameters.render(parameters, header).encode()
        with self._files.locked(exclusive=True):
            return self._write(text)

    def history(self) -> Sequence[base.Revision]:
        with self._files.locked(exclusive=False):
            self._environment()
            return self._history.revisions(self._states())

    def restore(
        self, number: int | None, header: Sequence[str]
    ) -> tuple[base.Revision, base.Written]:
        with self._files.locked(exclusive=True):
            self._environment()
            states = self._states()
            revision = self._chosen(self._history.revisions(states), number)
            text = states.by_number[revision.number].under(header)
            return revision, self._write(text)

    def _states(self) -> States:
        return self._history.states(self._files.read(base.PARAMETERS))

    def _chosen(
        self, revisions: Sequence[base.Revision], number: int | None
    ) -> base.Revision:
        """The requested revision, which must not be broken."""
        earlier = [old for old in revisions if not old.present]
        if number is None and not earlier:
            raise errors.PlanError(
                f"plan {self.name}: no earlier parameters are kept"
            )
        if number is None:
            number = earlier[0].number
        for revision in revisions:
            if revision.number == number:
                if revision.problem:
                    raise errors.PlanError(
                        f"plan {self.name}: number {number} of the history"
                        f" cannot be restored: {revision.problem}",
                        hint="choose another one",
                    )
                return revision
        kept = ", ".join(str(old.number) for old in reversed(revisions))
        raise errors.PlanError(
            f"plan {self.name}: there is no number {number} in the history",
            hint=f"there are {kept}" if kept else None,
        )

    def _environment(self) -> content.PlanEnvironment:
        return content.PlanEnvironment(
            self.name, self._files.read(base.PLAN_ENVIRONMENT)
        )

    def _write(self, text: bytes) -> base.Written:
        """Write the parameters and list their file."""
        wanted = State(text)
        changes = _WRITES.repeat(
            lambda: self._replace(wanted), errors.PlanConflict
        )
        listed = list_environment(self._files, base.PARAMETERS)
        # In any case: an earlier write may have failed before this.
        for error in self._files.forget_cached():
            _log.warning(
                "%s; plan %s is written all the same, but what is cached"
                " there may be older: delete it, or let somebody do so who"
                " may",
                error,
                self.name,
            )
        return base.Written(changes is not None or listed, changes or ())

    def _replace(self, wanted: State) -> Sequence[base.ParameterChange] | None:
        """Write the parameters; None when the plan has them already."""
        stored = self._files.read_many(
            [base.PLAN_ENVIRONMENT, base.PARAMETERS]
        )
        content.PlanEnvironment(self.name, stored[base.PLAN_ENVIRONMENT])
        present = stored[base.PARAMETERS]
        before = State(present.content) if present else None
        if before and before.says(wanted):
            return None
        if present:
            self._history.keep(present)
        self._files.write(base.PARAMETERS, wanted.content, replaces=present)
        written = self._files.read(base.PARAMETERS)
        if written is None or written.content != wanted.content:
            raise conflict(self._files, base.PARAMETERS)
        return wanted.changes(before)


def list_environment(files: PlanFiles, path: str) -> bool:
    """Append a file to the environments that a plan lists.

    The caller has the exclusive lock.

    :param path: normalised, within the plan.
    :returns: False when it is listed already.
    :raises PlanError: as `StoredPlan.write_parameters`.
    """
    return _WRITES.repeat(lambda: _list(files, path), errors.PlanConflict)


def _list(files: PlanFiles, path: str) -> bool:
    stored = files.read(base.PLAN_ENVIRONMENT)
    text = content.PlanEnvironment(files.name, stored).listing(path)
    if text is None:
        return False
    files.write(base.PLAN_ENVIRONMENT, text, replaces=stored)
    # Entries that others added since are kept.
    present = files.read(base.PLAN_ENVIRONMENT)
    if path not in content.PlanEnvironment(files.name, present).paths:
        raise conflict(files, base.PLAN_ENVIRONMENT)
    return True
