"""The composition root of preloading the nodes of an inventory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.ansible import inventories
from imageprep_client.client import policies
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.container.request import PrepareRequest
from imageprep_client.host import undercloud
from imageprep_client.observer import SILENT, Observer
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.stored import Plan
from imageprep_client.preload import demand, preloading
from imageprep_client.preload.report import fields as report_fields
from imageprep_client.preload.report import read as status
from imageprep_client.preload.request import (
    NODES_PER_REGISTRY,
    TIMEOUT,
    NodeRow,
    NodeState,
    OnNode,
    PreloadRequest,
    PreloadResult,
    SiteRow,
)
from imageprep_client.retry import BRIEF, PATIENT

__all__ = [
    "NODES_PER_REGISTRY",
    "TIMEOUT",
    "NodeRow",
    "NodeState",
    "PreloadRequest",
    "PreloadResult",
    "Preloading",
    "SiteRow",
    "pairs",
    "report_fields",
    "status",
]


class Preloading:
    """Preloads inventories.

    :param options: how registries are reached.
    """

    def __init__(self, options: RegistryOptions | None = None) -> None:
        self._options = options or RegistryOptions()

    def of_deployment(
        self,
        request: PreloadRequest,
        environments: PrepareRequest,
        *,
        groups: Mapping[str, str],
        plan: Plan | None = None,
        observer: Observer = SILENT,
    ) -> tuple[Preloading, PreloadRequest]:
        """A request for the images of a deployment.

        :param environments: its environments, roles and image table.
        :param groups: the role of each group of the inventory.
        :returns: what carries it out, with the settings for registries that
            the environments have.
        :raises InputError: when they cannot be used.
        """
        from imageprep_client.container import deployment

        # The images of a deployment are looked up for minutes.
        for inventory in request.inventories:
            inventories.check(inventory)
        inputs = deployment.read(environments, plan)
        for warning in inputs.warnings:
            observer.warning(warning)
        options = self._options.with_parameters(inputs.parameters)
        with Stores(options, observer) as stores:
            roles, every = deployment.images_of_roles(
                inputs,
                list(dict.fromkeys(groups.values())),
                source=stores.source,
                undercloud_registry=undercloud.registry,
                observer=observer,
                concurrency=request.concurrency or options.concurrency,
            )
        lists = {group: roles[role] for group, role in groups.items()}
        return Preloading(options), dataclasses.replace(
            request, lists={**request.lists, **lists}, others=every
        )

    def preload(
        self,
        request: PreloadRequest,
        *,
        observer: Observer = SILENT,
        on_node: OnNode = lambda _: None,
        dry_run: bool = False,
    ) -> PreloadResult:
        """See `preload.preloading.preload`."""
        policies.check(self._options.signature_policy)
        with Stores(
            self._options, observer, policy=BRIEF if dry_run else PATIENT
        ) as stores:
            return preloading.preload(
                request,
                stores,
                observer=observer,
                on_node=on_node,
                dry_run=dry_run,
            )


def lists(texts: Sequence[str]) -> dict[str, Sequence[Reference]]:
    """The images of groups, from ``GROUP=FILE`` of the command line.

    :raises InputError: for what is none.
    """
    return {
        group: demand.read_list(path)
        for group, path in pairs("--images", texts).items()
    }


def sites(texts: Sequence[str]) -> dict[str, Location]:
    """The registries of groups, from ``GROUP=REGISTRY``.

    :raises InvalidArgument: for what is none.
    """
    found = {}
    for group, place in pairs("--site", texts).items():
        try:
            location = Location.parse(place)
        except errors.InvalidReference as error:
            raise errors.InvalidArgument(
                f"--site {group}: {error}", hint=error.hint
            ) from error
        if not location.is_registry:
            raise errors.InvalidArgument(
                f"--site {group}: {place} is no registry, and nodes can pull"
                " from nothing else"
            )
        found[group] = location
    return found


def pairs(option: str, texts: Sequence[str]) -> dict[str, str]:
    """The words of a repeated ``NAME=VALUE`` option.

    :raises InvalidArgument: for one without a part, or a name given twice.
    """
    found: dict[str, str] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if not name or not value:
            raise errors.InvalidArgument(
                f"{option} {text!r}: expected <group>=<value>"
            )
        if name in found:
            raise errors.InvalidArgument(f"{option} {name}: given twice")
        found[name] = value
    return found
