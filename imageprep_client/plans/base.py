"""The content and the history of a deployment plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

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
