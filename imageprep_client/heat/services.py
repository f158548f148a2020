"""The services that a deployment will run."""

from __future__ import annotations

from collections.abc import Iterable

from imageprep_client.heat.environment import Environment
from imageprep_client.heat.roles import Role

#: A resource registry maps a service to this to disable it.
_DISABLED = "OS::Heat::None"


def enabled(
    environment: Environment, roles: Iterable[Role]
) -> frozenset[str] | None:
    """The resource types of all services that at least one node runs.

    A role counts when it has nodes: the parameter ``<Role>Count``, or its
    default. Its services are the parameter ``<Role>Services``, or its
    default, without those mapped to ``OS::Heat::None``.

    :returns: None when there are no roles: the services are unknown.
    :raises InvalidFile: when a parameter has an invalid value.
    """
    roles = tuple(roles)
    if not roles:
        return None
    return frozenset(
        service
        for role in roles
        if _count(environment, role) > 0
        for service in of_role(environment, role)
    )


def of_role(environment: Environment, role: Role) -> frozenset[str]:
    """The resource types of the services of a role, with nodes or without.

    :raises InvalidFile: when a parameter has an invalid value.
    """
    return frozenset(
        service
        for service in _services(environment, role)
        if environment.resource_registry.get(service) != _DISABLED
    )


def _count(environment: Environment, role: Role) -> int:
    parameter = f"{role.name}Count"
    if parameter not in environment.parameter_defaults:
        return role.count_default
    return environment.value(parameter).whole()


def _services(environment: Environment, role: Role) -> tuple[str, ...]:
    parameter = f"{role.name}Services"
    if parameter not in environment.parameter_defaults:
        return role.services_default
    return environment.value(parameter).delimited()
