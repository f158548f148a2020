"""The containers of a deployment, from its inventory."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageprep_client import ansible, errors
from imageprep_client.machine import names

#: The host variables that say what containers are, and how commands run.
_VARIABLES = (
    "component",
    "container_tech",
    "is_metal",
    "physical_host",
    "properties",
    "image_prepare_command",
    "image_prepare_store",
    "image_prepare_options",
    "image_prepare_export_options",
    "image_prepare_replace_options",
    "image_prepare_cache_options",
)
#: Technologies of containers whose roots can be replaced.
_TECHNOLOGIES = ("lxc", "nspawn")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_SERVICE = re.compile(r"[a-z0-9]+([._-][a-z0-9]+)*")


@dataclasses.dataclass(frozen=True, slots=True)
class DeployedContainer:
    """A container of a deployment.

    :ivar host: the host that it runs on, a name of the inventory.
    :ivar service: such as ``nova_api``.
    """

    name: str
    host: str
    service: str


@dataclasses.dataclass(frozen=True, slots=True)
class Deployment:
    """The containers of an inventory, whose hosts `session` reaches.

    :ivar containers: by host and name.
    :ivar hosts: the variables of each host that has containers; one that is
        not in the inventory has none.
    """

    session: ansible.Session
    containers: Sequence[DeployedContainer]
    hosts: Mapping[str, Mapping[str, Any]]


@contextlib.contextmanager
def deployment(
    inventory: str, pattern: str | None = None
) -> Iterator[Deployment]:
    """Read the containers of an inventory, which can be used in the block.

    :param inventory: a file in a format of ansible, a program, or
        ``openstack_inventory.json`` of OpenStack-Ansible.
    :param pattern: a pattern of ansible that selects containers and hosts;
        a host selects its containers.
    :raises InvalidArgument: when there are none, or a name cannot be used.
    """
    with ansible.Session(inventory) as session:
        read = session.groups(pattern, _VARIABLES)
        known = read.variables
        selected = set(read.hosts)
        containers = [
            _container(inventory, name, variables)
            for name, variables in known.items()
            if _is_container(name, variables)
            and not {name, variables["physical_host"]}.isdisjoint(selected)
        ]
        if not containers:
            wanted = f" that {pattern!r} selects" if pattern else ""
            raise errors.InvalidArgument(
                f"{inventory}: no containers{wanted}",
                hint="they are the hosts with the variable physical_host",
            )
        containers.sort(key=lambda one: (one.host, one.name))
        hosts = {
            one.host: known[one.host]
            for one in containers
            if one.host in known
        }
        yield Deployment(session, containers, hosts)


def _container(
    inventory: str, name: str, variables: Mapping[str, Any]
) -> DeployedContainer:
    service = names.service(name, variables)
    if not _NAME.fullmatch(name):
        raise errors.InvalidArgument(
            f"{inventory}: {name!r} is no name of a container"
        )
    if not _SERVICE.fullmatch(service):
        problem = "its service is not known"
        if service:
            problem = f"{service!r} is no name of a service"
        raise errors.InvalidArgument(
            f"{inventory}: {name}: {problem}",
            hint="give it the host variable component",
        )
    return DeployedContainer(name, str(variables["physical_host"]), service)


def _is_container(name: str, variables: Mapping[str, Any]) -> bool:
    properties = variables.get("properties")
    metal = properties.get("is_metal") if isinstance(properties, dict) else 0
    return bool(
        isinstance(variables.get("physical_host"), str)
        and variables["physical_host"] != name
        and not metal
        and not variables.get("is_metal")
        and variables.get("container_tech", "lxc") in _TECHNOLOGIES
    )
