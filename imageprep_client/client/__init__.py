"""The composition root: the only module that knows every implementation.

Programs use it as the commands do::

    client = Client(Settings(image_serve="/srv/images"))
    result = client.prepare(PrepareRequest(environment_files=["env.yaml"]))
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import importlib
import os
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from imageprep_client import errors
from imageprep_client.catalog import DEFAULT_RELEASE, releases
from imageprep_client.client.stores import Settings, Stores
from imageprep_client.container.destination import Place
from imageprep_client.container.request import (
    PrepareRequest,
    PrepareResult,
    Row,
)
from imageprep_client.heat import environment, parameters
from imageprep_client.heat.parameters import Credential, PrepareParameters
from imageprep_client.host import undercloud
from imageprep_client.host.undercloud import PORT, TREE
from imageprep_client.observer import Observer
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.base import KEPT as PLAN_HISTORY
from imageprep_client.plans.base import Plan, Revision
from imageprep_client.retry import ONE_ATTEMPT, PATIENT, RetryPolicy
from imageprep_client.serving.address import DEFAULT_LISTEN
from imageprep_client.stores import base
from imageprep_client.transfer.engine import CONCURRENCY

if TYPE_CHECKING:
    from imageprep_client.container.default import (
        environment as default_environment,
    )
    from imageprep_client.container.hotfixing import (
        HotfixRequest,
        HotfixResult,
    )
    from imageprep_client.container.login import parse as credential
    from imageprep_client.container.pushing import PushRequest
    from imageprep_client.plans.inspection import difference as plan_difference
    from imageprep_client.plans.inspection import images as plan_images
    from imageprep_client.plans.opening import find_plans, open_plan
    from imageprep_client.registries.inventory import Details
    from imageprep_client.registries.pruning import PruneRequest, PruneResult
    from imageprep_client.registries.registry import Registry
    from imageprep_client.registries.removal import Removed
    from imageprep_client.registries.verification import Verdict
    from imageprep_client.serving.apache import virtual_host
    from imageprep_client.serving.server import serve

__all__ = [
    "CONCURRENCY",
    "DEFAULT_LISTEN",
    "DEFAULT_RELEASE",
    "ENVIRONMENT_DIRECTORY",
    "PLAN_HISTORY",
    "PORT",
    "TREE",
    "Client",
    "Credential",
    "Details",
    "HotfixRequest",
    "HotfixResult",
    "Plan",
    "Platform",
    "PrepareRequest",
    "PrepareResult",
    "PruneRequest",
    "PruneResult",
    "PushRequest",
    "Removed",
    "Revision",
    "Row",
    "Settings",
    "Verdict",
    "credential",
    "default_environment",
    "find_plans",
    "make_client",
    "open_plan",
    "plan_difference",
    "plan_images",
    "releases",
    "serve",
    "virtual_host",
]

# One command needs few of the modules behind it: these are loaded by their
# first use, for the module and what it calls the name.
_LATER = {
    "HotfixRequest": "container.hotfixing",
    "HotfixResult": "container.hotfixing",
    "Details": "registries.inventory",
    "PushRequest": "container.pushing",
    "Removed": "registries.removal",
    "PruneRequest": "registries.pruning",
    "PruneResult": "registries.pruning",
    "Verdict": "registries.verification",
    "credential": "container.login:parse",
    "default_environment": "container.default:environment",
    "find_plans": "plans.opening",
    "open_plan": "plans.opening",
    "plan_difference": "plans.inspection:difference",
    "plan_images": "plans.inspection:images",
    "serve": "serving.server",
    "virtual_host": "serving.apache",
}

_SILENT = Observer()
#: Environments here are read without being named.
ENVIRONMENT_DIRECTORY = "~/.tripleo/environments"


class Client:
    """Everything that the commands can do."""

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()

    def prepare(
        self,
        request: PrepareRequest,
        *,
        plan: Plan | None = None,
        observer: Observer = _SILENT,
    ) -> PrepareResult:
        """Bring images into place and write the parameters.

        See `container.prepare.prepare` for what it promises and raises.

        :param plan: a deployment plan to read and write; see `open_plan`.
        """
        from imageprep_client.client.workspaces import Workspaces
        from imageprep_client.container import prepare as preparing

        with contextlib.ExitStack() as stack:

            def open_stores(
                parameters: PrepareParameters, *, patient: bool
            ) -> Stores:
                stores = Stores(
                    self._settings,
                    parameters,
                    observer,
                    policy=PATIENT if patient else ONE_ATTEMPT,
                    concurrency=request.concurrency or CONCURRENCY,
                )
                return stack.enter_context(stores)

            return preparing.prepare(
                request,
                open_stores=open_stores,
                workspaces=Workspaces(observer),
                plan=plan,
                undercloud_registry=undercloud.registry,
                observer=observer,
                now=datetime.datetime.now(),
            )

    def push(self, request: PushRequest, observer: Observer = _SILENT) -> Row:
        """Copy one image; see `container.pushing.push`.

        :raises PartialFailure: when the copy is in place, but the name of
            the local image could not be removed.
        """
        from imageprep_client.client import local_images
        from imageprep_client.container import pushing

        place = self._place(request.registry_url)
        policy = ONE_ATTEMPT if request.dry_run else PATIENT
        with contextlib.ExitStack() as stack:
            local = stack.enter_context(local_images.source(request))
            reference = (
                local.reference if local else pushing.source_of(request.image)
            )
            sources = stack.enter_context(
                self._stores(
                    observer,
                    {reference.registry: request.source_credential},
                    policy=policy,
                )
            )
            destinations = stack.enter_context(
                self._stores(
                    observer,
                    {place.registry: request.credential},
                    policy=policy,
                )
            )
            row = pushing.push(
                request,
                reference,
                place,
                source=local.store
                if local
                else lambda named, *_: sources.source(named),
                destination=destinations.destination,
                locked=destinations.locked,
                observer=observer,
                concurrency=CONCURRENCY,
            )
            if local and request.cleanup and not request.dry_run:
                local.clean_up()
            return row

    def hotfix(
        self, request: HotfixRequest, observer: Observer = _SILENT
    ) -> HotfixResult:
        """Install packages into images; see `container.hotfixing.hotfix`."""
        from imageprep_client.container import hotfixing

        with self._stores(observer, {}) as stores:
            return hotfixing.hotfix(
                request,
                source=stores.source,
                destination=stores.destination,
                undercloud_registry=undercloud.registry,
                observer=observer,
                now=datetime.datetime.now(),
            )

    def images(
        self,
        registry_url: str = "",
        *,
        credential: Credential | None = None,
        observer: Observer = _SILENT,
    ) -> list[str]:
        """All images of a registry or tree, ``[registry/]repository:tag``.

        :param registry_url: empty: the undercloud's registry.
        """
        from imageprep_client.registries import inventory

        place = self._place(registry_url)
        with self._stores(observer, {place.registry: credential}) as stores:
            found = inventory.images(
                stores.catalog(place.registry),
                lambda name: stores.destination(place.registry, name),
                prefix=place.prefix,
                concurrency=CONCURRENCY,
                observer=observer,
            )
        host = f"{place.registry}/" if place.is_registry else ""
        return [f"{host}{name}:{tag}" for name, tag in found]

    def image(
        self,
        image: str,
        registry_url: str = "",
        *,
        credential: Credential | None = None,
        observer: Observer = _SILENT,
    ) -> Details:
        """One image of a registry or tree, closely.

        :param image: of the registry in its name, else of `registry_url`.
        """
        from imageprep_client.registries import inventory

        found = self._image(image, registry_url, credential, observer)
        with found as (_, store, reference):
            return inventory.inspect(store, reference)

    def delete_image(
        self,
        image: str,
        registry_url: str = "",
        *,
        credential: Credential | None = None,
        observer: Observer = _SILENT,
    ) -> Removed:
        """Delete one image; see `container.removal.remove`."""
        from imageprep_client.registries import removal

        found = self._image(image, registry_url, credential, observer)
        with (
            found as (stores, store, reference),
            stores.locked(observer.waiting),
        ):
            removed = removal.remove(
                store, reference, observer=observer, concurrency=CONCURRENCY
            )
            if isinstance(store, base.Flushes):
                store.flush()
            return removed

    def discover_tag(
        self, image: str, label: str, observer: Observer = _SILENT
    ) -> str:
        """The versioned tag behind the tag of an image.

        :param label: as in `discovery.discover`; it may not be empty.
        :raises DiscoveryError: when no tag comes out.
        """
        from imageprep_client.container import discovery

        reference = Reference.parse(image.removeprefix("docker://"))
        with self._stores(observer, {}) as stores:
            stores.check_tree()
            return discovery.versioned_tag(
                stores.reading(reference.registry, reference.repository),
                str(reference),
                reference.identifier,
                label,
            )

    def verify(
        self,
        registry_url: str = "",
        *,
        quick: bool = False,
        diff_ids: bool = False,
        concurrency: int = CONCURRENCY,
        observer: Observer = _SILENT,
    ) -> Verdict:
        """Check all of a registry or tree; see `upkeep.verification.verify`.

        :param registry_url: empty: the undercloud's registry.
        """
        from imageprep_client.registries import verification

        place = self._whole(registry_url)
        with self._stores(observer, {}) as stores:
            return verification.verify(
                stores.registry(place.registry),
                quick=quick,
                diff_ids=diff_ids,
                concurrency=concurrency,
                observer=observer,
            )

    def prune(
        self,
        request: PruneRequest,
        registry_url: str = "",
        *,
        observer: Observer = _SILENT,
    ) -> PruneResult:
        """Delete what nobody names; see `upkeep.pruning.prune`.

        :param registry_url: empty: the undercloud's registry. References to
            a tree without it count whatever their registry is called.
        """
        from imageprep_client.registries import pruning

        place = self._whole(registry_url)
        with contextlib.ExitStack() as stack:

            def open_registry(given: PrepareParameters) -> Registry:
                stores = Stores(
                    self._settings,
                    given,
                    observer,
                    policy=PATIENT,
                    concurrency=request.concurrency,
                )
                stack.enter_context(stores)
                return stores.registry(place.registry)

            return pruning.prune(
                request,
                open_registry=open_registry,
                by_name=registry_url != "",
                is_here=lambda name: undercloud.are_one(name, place.registry),
                observer=observer,
            )

    def _whole(self, registry_url: str) -> Place:
        """A place that is looked after as a whole."""
        place = self._place(registry_url)
        place.check_whole()
        return place

    def _place(self, registry_url: str) -> Place:
        if not registry_url and self._settings.image_serve:
            path = os.path.abspath(self._settings.image_serve)
            return Place(f"image-serve:{path}")
        return Place.parse(registry_url or undercloud.registry())

    @contextlib.contextmanager
    def _image(
        self,
        image: str,
        registry_url: str,
        credential: Credential | None,
        observer: Observer,
    ) -> Iterator[tuple[Stores, base.Store, Reference]]:
        """One image that exists or not, and the stores that it is of."""
        from imageprep_client.registries import inventory

        reference = inventory.named(image, lambda: self._place(registry_url))
        home = reference.registry
        with self._stores(observer, {home: credential}) as stores:
            given = self._place(registry_url).registry if registry_url else ""
            if given and not stores.are_one(home, given):
                raise errors.InvalidArgument(
                    f"{image}: its registry is not that of --registry-url,"
                    f" {registry_url}"
                )
            stores.check_tree()
            store = stores.destination(home, reference.repository)
            yield stores, store, reference

    def _stores(
        self,
        observer: Observer,
        credentials: Mapping[str, Credential | None],
        *,
        policy: RetryPolicy = PATIENT,
    ) -> Stores:
        """The stores of a command that reads no environment."""
        return Stores(
            self._settings,
            dataclasses.replace(
                parameters.parse(environment.merge([])),
                credentials={k: v for k, v in credentials.items() if v},
            ),
            observer,
            policy=policy,
            concurrency=CONCURRENCY,
            credentials_from="the options",
        )


def make_client(instance: Any) -> Client:
    """For the plugin hook; nothing of the cloud is needed."""
    return Client()


def __getattr__(name: str) -> Any:
    """What is loaded by its first use."""
    if name not in _LATER:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    module, _, own = _LATER[name].partition(":")
    home = importlib.import_module(f"imageprep_client.{module}")
    globals()[name] = found = getattr(home, own or name)
    return found
