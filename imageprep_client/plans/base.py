"""The plan interface: a deployment plan as image preparation sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

#: Every plan has this file.
PLAN_ENVIRONMENT = "plan-environment.yaml"
ROLES = "roles_data.yaml"
#: The file that image preparation writes.
PARAMETERS = "environments/containers-default-parameters.yaml"
#: Folder of the earlier parameters; heat never reads it.
HISTORY = ".image-prepare/history"
#: How many earlier parameters are kept.
KEPT = 10


@dataclasses.dataclass(frozen=True, slots=True)
class PlanContent:
    """The content of a plan, parsed but not yet checked.

    :ivar environments: heat environments in the order in which they are
        merged, later ones over earlier ones, each with its name for
        errors: those that the plan lists, then its passwords, derived
        parameters and parameter defaults, then its resource registry.
    :ivar roles: the roles data; None when the plan has none.
    """

    environments: Sequence[tuple[str, Any]] = dataclasses.field(repr=False)
    roles: Any = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterChange:
    """A changed value of a parameter.

    :ivar old: the value before, empty without one; JSON when it is no text;
        ``***`` when it is no image and might be a secret.
    :ivar new: the value now, in the same form.
    """

    parameter: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """The result of writing the parameters of a plan.

    :ivar changed: False when the plan had these parameters already and
        nothing was written.
    :ivar changes: one for each parameter; empty when only the list of
        environments had to be changed.
    """

    changed: bool
    changes: Sequence[ParameterChange] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Revision:
    """The present parameters of the plan, or earlier ones.

    :ivar number: grows with time; a revision keeps its number.
    :ivar present: whether these are the present parameters.
    :ivar time: the creation time in its header, or empty.
    :ivar command: the command line in its header, or empty.
    :ivar changes: the changes from the revision before; None when that one is
        broken or no longer kept.
    :ivar problem: the reason why it cannot be restored, or empty.
    """

    number: int
    present: bool
    time: str = ""
    command: str = ""
    changes: Sequence[ParameterChange] | None = None
    problem: str = ""


class Plan(Protocol):
    """One deployment plan.

    :ivar name: its name in errors.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> PlanContent:
        """Read the whole plan; each file is fetched once.

        The content is from one moment where the store has locks. The file
        that `write_parameters` writes may be listed and absent; no other
        file may.

        :raises PlanError: when it is not a plan, lists files that are absent
            or outside of it, or has invalid YAML.
        """
        ...

    def check_writable(self) -> None:
        """Check that `write_parameters` can write; nothing is left behind.

        :raises PlanError: when it is no plan.
        :raises PlanError, NoSpace: when it could not, as far as can be known.
        """
        ...

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> Written:
        """Replace the image parameters of the plan.

        The present parameters are kept in the history, `PARAMETERS` is
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
        ...

    def history(self) -> Sequence[Revision]:
        """The present parameters and the earlier ones, newest first.

        :raises PlanError: when it is not a plan, or cannot be read.
        """
        ...

    def restore(
        self, number: int | None, header: Sequence[str]
    ) -> tuple[Revision, Written]:
        """Restore the parameters of a revision.

        Like any other write it makes a new revision and can be undone.

        :param number: of the revision; None for the one before the present.
        :param header: comment lines, in place of the earlier ones.
        :returns: the revision that was restored, and the changes.
        :raises PlanError: when there is no such revision or it is broken,
            and as `write_parameters`.
        """
        ...
