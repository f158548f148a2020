"""The composition root of the machines of a whole deployment."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from imageprep_client.ansible import HostState, JobResult
from imageprep_client.client.locations import located, tagged
from imageprep_client.machine import exporting
from imageprep_client.machine.deployment import hosts
from imageprep_client.machine.deployment.changing import DeploymentChange
from imageprep_client.machine.deployment.containers import (
    Deployment,
    deployment,
)
from imageprep_client.machine.deployment.naming import HostFacts, ImageTemplate
from imageprep_client.machine.deployment.rows import (
    MachineRow,
    OnRow,
    RowState,
)

__all__ = [
    "DeploymentRequest",
    "MachineRow",
    "RowState",
    "archive",
    "preload",
    "preload_caches",
]


@dataclasses.dataclass(frozen=True, slots=True)
class DeploymentRequest:
    """The containers of a deployment, and their images.

    :ivar inventory: a path.
    :ivar template: the name of the image of a service, with fields.
    :ivar release: the value of ``{release}``.
    :ivar hosts: a host pattern of ansible.
    """

    inventory: str
    template: str
    release: str | None = None
    hosts: str | None = None


def archive(request: DeploymentRequest, on_row: OnRow) -> list[MachineRow]:
    """Export an image of each service; see `DeploymentChange.archive`.

    :raises InvalidArgument: before any host is changed.
    """
    template = ImageTemplate.parse(request.template, request.release)
    with deployment(request.inventory, request.hosts) as deployed:
        images, failures = _images(deployed, template, tagged)
        change = DeploymentChange(deployed, images, failures, on_row)
        return change.archive()


def preload(request: DeploymentRequest, on_row: OnRow) -> list[MachineRow]:
    """Replace the roots of all containers.

    :raises InvalidArgument: before any host is changed.
    """
    template = ImageTemplate.parse(request.template, request.release)
    with deployment(request.inventory, request.hosts) as deployed:
        images, failures = _images(deployed, template, located)
        change = DeploymentChange(deployed, images, failures, on_row)
        return change.preload()


def preload_caches(
    request: DeploymentRequest, on_row: OnRow
) -> list[MachineRow]:
    """Fill the caches of LXC on all hosts, from one base image.

    :raises InvalidArgument: before any host is changed.
    """
    template = ImageTemplate.parse(
        request.template, request.release, is_base=True
    )
    with deployment(request.inventory, request.hosts) as deployed:
        known, failures = _facts(deployed, template)
        images = {
            host: template.name("", known.get(host, HostFacts()))
            for host in deployed.hosts
            if host not in failures
        }
        _check(images.values(), located)
        change = DeploymentChange(deployed, images, failures, on_row)
        return change.fill_caches()


def _images(
    deployed: Deployment,
    template: ImageTemplate,
    check: Callable[[str], object],
) -> tuple[Mapping[str, str], Mapping[str, JobResult]]:
    """The image of each container, and the hosts that cannot be used.

    A container has no image where its name depends on facts that are not
    known.
    """
    known, failures = _facts(deployed, template)
    images = {
        one.name: template.name(one.service, known.get(one.host, HostFacts()))
        for one in deployed.containers
        if one.host in known or not template.needs_facts
    }
    _check(images.values(), check)
    return images, failures


def _facts(
    deployed: Deployment, template: ImageTemplate
) -> tuple[Mapping[str, HostFacts], Mapping[str, JobResult]]:
    """The facts of the hosts, and the failures of those without them.

    A host that is not in the inventory has none.
    """
    unknown = {
        one.host: JobResult(
            one.host, HostState.FAILED, f"{one.host} is not in the inventory"
        )
        for one in deployed.containers
        if one.host not in deployed.hosts
    }
    if not template.needs_facts or not deployed.hosts:
        return {}, unknown
    known, failures = hosts.facts(deployed)
    return known, {**failures, **unknown}


def _check(images: Iterable[str], check: Callable[[str], object]) -> None:
    for image in sorted(set(images)):
        if not exporting.is_archive(image):
            check(image)
