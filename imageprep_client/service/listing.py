"""The services of a node as they are declared, and as they run."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.programs.podman import InspectedContainer, Podman
from imageprep_client.service import holding
from imageprep_client.service.declaration import Service
from imageprep_client.service.units import OwnedElsewhere, ServiceHost


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceStatus:
    """A service of the node.

    :ivar declared: the image of the declaration; empty for none.
    :ivar image: the one that its container has; empty for no container.
    :ivar state: ``running``, ``dead`` where podman calls a process that is
        gone running, or another word of podman.
    :ivar since: when it was started.
    :ivar health: what podman's own health check says; empty without one.
    :ivar owner: the unit of systemd that has the container, or ``podman``.
    :ivar previous: the digest that a rollback would restore.
    """

    name: str
    declared: str
    image: str = ""
    digest: str = ""
    state: str = "absent"
    alive: bool = False
    since: str = ""
    health: str = ""
    owner: str = ""
    previous: str = ""
    generations: tuple[int, ...] = ()
    pid: int = 0


def statuses(
    host: ServiceHost,
    declared: Mapping[str, Service],
    names: Sequence[str] = (),
) -> list[ServiceStatus]:
    """The status of these services, or of all that are declared."""
    containers = host.podman.containers()
    return [
        _status(
            host, name, declared.get(name), holding.holders(containers, name)
        )
        for name in (names or declared)
    ]


def _status(
    host: ServiceHost,
    name: str,
    service: Service | None,
    holders: Sequence[holding.Holder],
) -> ServiceStatus:
    container = host.podman.container(name)
    if container is None and service is None:
        raise errors.NotFound(
            f"{name}: neither declared nor a container",
            hint="list the services: openstack image-prepare service list",
        )
    previous = host.podman.container(holders[0].name) if holders else None
    status = ServiceStatus(
        name=name,
        declared=(service.image or service.parameter) if service else "",
        previous=previous.digest if previous else "",
        generations=tuple(one.generation for one in holders),
        owner=_owner(host, name, container),
    )
    if container is None:
        return status
    alive = container.is_alive
    dead = container.state == "running" and not alive
    health = container.data["State"].get("Health") or {}
    return dataclasses.replace(
        status,
        image=container.image_name,
        digest=container.digest,
        state="dead" if dead else container.state,
        alive=alive,
        since=container.started if alive else "",
        health=str(health.get("Status") or ""),
        pid=container.pid if alive else 0,
    )


def _owner(
    host: ServiceHost, name: str, container: InspectedContainer | None
) -> str:
    try:
        return host.owner(name, container).unit or "podman"
    except OwnedElsewhere as error:
        return error.owner


def package_version(podman: Podman, name: str, package: str) -> str:
    """The version of a package in the running container.

    :raises NotFound: when the package is not installed.
    :raises LocalStorageError: when that cannot be found out.
    """
    for words in (
        ("rpm", "--query", "--", package),
        ("dpkg-query", "--show", "--", package),
    ):
        finished = podman.exec(name, words, 60)
        if finished.status == 0:
            return " ".join(finished.stdout.split())
        if "not installed" in finished.stdout + finished.stderr:
            raise errors.NotFound(f"{name}: {package} is not installed in it")
    reason = finished.stderr.strip().rpartition("\n")[2]
    raise errors.LocalStorageError(
        f"{name}: cannot ask for its packages: {reason}"
    )
