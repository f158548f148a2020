"""The roles of a deployment, from roles files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.heat.value import Value


@dataclasses.dataclass(frozen=True, slots=True)
class Role:
    """A kind of node.

    :ivar count_default: the number of its nodes, unless the parameter
        ``<Role>Count`` sets it.
    :ivar services_default: the resource types of its services, unless the
        parameter ``<Role>Services`` sets them.
    """

    name: str
    count_default: int
    services_default: tuple[str, ...]


def load(paths: Sequence[str]) -> tuple[Role, ...]:
    """The roles of all files, in order.

    :raises InvalidFile: when a file cannot be read or is no roles file, or
        a role is defined twice.
    """
    origins: dict[str, str] = {}
    roles: list[Role] = []
    for path in paths:
        more = parse(document.read(path), path)
        for index, role in enumerate(more):
            if role.name in origins:
                raise errors.InvalidFile(
                    path,
                    f"role {role.name} is also defined in"
                    f" {origins[role.name]}",
                    key=f"[{index}].name",
                    hint="keep one definition of each role",
                )
        origins.update((role.name, path) for role in more)
        roles += more
    return tuple(roles)


def parse(data: object, path: str) -> tuple[Role, ...]:
    """The roles of one document that has been parsed already.

    :param path: the file to name in errors.
    :raises InvalidFile: when it is no list of roles, each with a name of its
        own.
    """
    names: set[str] = set()
    roles = []
    for element in _elements(data, path):
        role = _role(element)
        if role.name in names:
            raise element.child("name", role.name).error(
                f"role {role.name} is defined twice",
                "keep one definition of each role",
            )
        names.add(role.name)
        roles.append(role)
    return tuple(roles)


def _elements(data: object, path: str) -> Sequence[Value]:
    value = Value(data, path)
    if not isinstance(data, list):
        raise value.expected("a list of roles")
    return tuple(value.elements())


def _role(element: Value) -> Role:
    fields = dict(element.items())
    if "name" not in fields:
        raise element.child("name", None).error("a role needs a name")
    name = fields["name"].text()
    if not name:
        raise fields["name"].error("a role needs a name")
    services = fields.get("ServicesDefault")
    count = fields.get("CountDefault")
    return Role(
        name=name,
        count_default=_count(count) if count else 0,
        services_default=services.texts() if services else (),
    )


def _count(value: Value) -> int:
    count = value.whole()
    if count < 0:
        raise value.error("a role cannot have a negative number of nodes")
    return count
