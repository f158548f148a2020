"""A deployment plan, however its files are kept."""

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


class Plan:
    """One deployment plan.

    :param kept: the number of earlier parameters to keep, at least 1.
    """

    def __init__(self, files: PlanFiles, kept: int = base.KEPT) -> None:
        self._files = files
        self._history = History(files, kept)

    @property
    def name(self) -> str:
        """Its name in errors."""
        return self._files.name

    def read(self) -> base.PlanContent:
        """Read the whole plan; each file is fetched once.

        The content is from one moment where the store has locks. The file
        that `write_parameters` writes may be listed and absent; no other
        file may.

        :raises PlanError: when it is not a plan, lists files that are absent
            or outside of it, or has invalid YAML.
        """
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
        """Check that `write_parameters` can write; nothing is left behind.

        :raises PlanError: when it is no plan.
        :raises PlanError, NoSpace: when it could not, as far as can be known.
        """
        with self._files.locked(exclusive=False):
            paths = [base.PARAMETERS, history_path(1)]
            if base.PARAMETERS not in self._environment().paths:
                paths.append(base.PLAN_ENVIRONMENT)
            self._files.check_writable(paths)

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> base.Written:
        """Replace the image parameters of the plan.

        The present parameters are kept in the history, `base.PARAMETERS` is
        written, and the file is appended to the plan's environments unless
        it is listed already. A reader sees the old plan or the new one.
        After a crash between two steps the plan still deploys, and another
        call completes the work. Nothing is written when the plan has these
        parameters already, whatever their header says.

        A file is compared with its earlier content before it is replaced.
        When another writer changed it, the work starts again from the new
        content, a few times. The result is read back. Values and their order
        in the plan environment are kept, comments are not.

        :param parameters: heat parameters.
        :param header: comment lines above them.
        :raises PlanError: when it is not a plan; nothing is written.
        :raises PlanConflict: when other writers are faster each time.
        :raises NoSpace: when there is no room for it.
        """
        text = heat_parameters.render(parameters, header).encode()
        with self._files.locked(exclusive=True):
            return self._write(text)

    def history(self) -> Sequence[base.Revision]:
        """The present parameters and the earlier ones, newest first.

        :raises PlanError: when it is not a plan, or cannot be read.
        """
        with self._files.locked(exclusive=False):
            self._environment()
            return self._history.revisions(self._states())

    def restore(
        self, number: int | None, header: Sequence[str]
    ) -> tuple[base.Revision, base.Written]:
        """Restore the parameters of a revision.

        Like any other write it makes a new revision and can be undone.

        :param number: of the revision; None for the one before the present.
        :param header: comment lines, in place of the earlier ones.
        :returns: the revision that was restored, and the changes.
        :raises PlanError: when there is no such revision or it is broken,
            and as `write_parameters`.
        """
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
            hint=f"the numbers there are: {kept}" if kept else None,
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
    :raises PlanError: as `Plan.write_parameters`.
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
