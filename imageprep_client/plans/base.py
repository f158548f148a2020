"""The plan interface: a deployment plan as image preparation sees it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

#: What makes a set of files a plan.
PLAN_ENVIRONMENT = "plan-environment.yaml"
ROLES = "roles_data.yaml"
#: What image preparation writes.
PARAMETERS = "environments/containers-default-parameters.yaml"
#: Where it keeps what it has replaced; heat never looks there.
HISTORY = ".image-prepare/history"
#: How many earlier parameters are kept.
KEPT = 10


@dataclasses.dataclass(frozen=True, slots=True)
class PlanContent:
    """What a plan says, parsed but not yet checked.

    :ivar environments: heat environments in the order in which they are
        merged, later ones over earlier ones, each with the name to call it
        by in errors: those that the plan lists, then its passwords, derived
        parameters and parameter defaults, then its resource registry.
    :ivar roles: the roles data; None when the plan has none.
    """

    environments: Sequence[tuple[str, Any]] = dataclasses.field(repr=False)
    roles: Any = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True, slots=True)
class ParameterChange:
    """A parameter that has another value than before.

    :ivar old: empty when there was none; what is no text as JSON; ``***``
        when it is no image and might be a secret.
    :ivar new: as `old`; empty when there is none any more.
    """

    parameter: str
    old: str
    new: str


@dataclasses.dataclass(frozen=True, slots=True)
class Written:
    """What became of the parameters of a plan.

    :ivar changed: False when all was as it should be; nothing was written.
    :ivar changes: by parameter; empty when the parameters were there and
        the plan did not list them.
    """

    changed: bool
    changes: Sequence[ParameterChange] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Revision:
    """The parameters of the plan as they are, or once were.

    :ivar number: grows with time; a revision keeps its number.
    :ivar present: whether it is what the plan has now.
    :ivar time: when it was made, as its first lines say, or empty.
    :ivar command: the command line that made it, or empty.
    :ivar changes: what it changed; None when that is not known, as what was
        before is broken or no longer kept.
    :ivar problem: why it cannot be put back, or empty.
    """

    number: int
    present: bool
    time: str = ""
    command: str = ""
    changes: Sequence[ParameterChange] | None = None
    problem: str = ""


class Plan(Protocol):
    """One deployment plan.

    :ivar name: what errors call it.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> PlanContent:
        """Everything that the plan says; each file is fetched once.

        It is from one moment, where others can be kept from writing. The
        file that `write_parameters` writes may be absent although it is
        listed; any other file may not.

        :raises PlanError: when it is no plan, names files that are absent
            or not inside of it, or has invalid YAML.
        """
        ...

    def check_writable(self) -> None:
        """Find out whether `write_parameters` could write; nothing is written.

        :raises PlanError: when it is no plan.
        :raises PlanError, InvalidFile, NoSpace: when it could not, as far as
            that can be known.
        """
        ...

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> Written:
        """Let the plan have exactly these image parameters.

        Keeps those that are there in the history, writes `PARAMETERS`, and
        then, unless the plan lists that file already, appends it to the
        plan's environments. A reader sees the old plan or the new; after a
        crash between two steps the plan still deploys, and a repetition
        does what was not done. When the plan has these parameters already
        nothing is written, whatever their header says.

        Each file is compared with what it was before it is replaced: when
        somebody else was faster, all begins anew with what is there then. A
        few times; then it is an error. What was written is read back. When
        the plan's list is written its values and their order are kept;
        comments are not.

        :param parameters: heat parameters.
        :param header: comment lines above them.
        :raises PlanError: when it is no plan; nothing is written.
        :raises PlanConflict: when others write at the same time.
        :raises InvalidFile, NoSpace: when it cannot be written.
        """
        ...

    def history(self) -> Sequence[Revision]:
        """The present parameters and the earlier ones, newest first.

        :raises PlanError: when it is no plan, or cannot be read.
        """
        ...

    def restore(
        self, number: int | None, header: Sequence[str]
    ) -> tuple[Revision, Written]:
        """Let the plan have the parameters of a revision again.

        That is a write like any other: it makes a revision of its own, and
        can be undone.

        :param number: None for the one before the present.
        :param header: comment lines, in place of those that it had.
        :returns: the revision that was put back, and what that changed.
        :raises PlanError: when there is no such revision, or it is broken;
            and as `write_parameters`.
        """
        ...
