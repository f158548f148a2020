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


class Plan(Protocol):
    """One deployment plan.

    :ivar name: what errors call it.
    """

    @property
    def name(self) -> str: ...

    def read(self) -> PlanContent:
        """Everything that the plan says, from one moment.

        The file that `write_parameters` writes may be absent although it is
        listed; any other file may not.

        :raises PlanError: when it is no plan, names a file that is absent
            or not inside of it, or has invalid YAML.
        """
        ...

    def check_writable(self) -> None:
        """Find out whether `write_parameters` could write; nothing is written.

        :raises PlanError: when it is no plan.
        :raises InvalidFile: when it could not, as far as that can be known.
        """
        ...

    def write_parameters(
        self, parameters: Mapping[str, Any], header: Sequence[str]
    ) -> None:
        """Let the plan have exactly these image parameters.

        Writes `PARAMETERS` first and then, unless the plan lists that file
        already, appends it to the plan's environments. A reader sees the old
        plan or the new; after a crash between the two steps the plan still
        deploys as before. Writers wait for each other. When the plan's list
        is written its values and their order are kept; comments are not.

        :param parameters: heat parameters.
        :param header: comment lines above them.
        :raises PlanError: when it is no plan; nothing is written.
        :raises InvalidFile, NoSpace: when it cannot be written.
        """
        ...
