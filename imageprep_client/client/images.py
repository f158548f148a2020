"""Container images: preparing, pushing, discovering their tags."""

from __future__ import annotations

import contextlib
import datetime
import os
import pathlib
from collections.abc import Sequence

from imageprep_client.client import archives, policies
from imageprep_client.client.archives import place
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.container.login import parse as credential
from imageprep_client.container.pushing import PushRequest
from imageprep_client.container.request import (
    PrepareRequest,
    PrepareResult,
    Row,
)
from imageprep_client.container.results.html import render as report_page
from imageprep_client.container.results.report import copies as copies_report
from imageprep_client.container.results.report import fields as report
from imageprep_client.heat.parameters import Credential, PrepareParameters
from imageprep_client.host import cache, undercloud
from imageprep_client.observer import SILENT, Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.stored import Plan
from imageprep_client.retry import BRIEF, PATIENT, RetryPolicy
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.known import KnownContent

__all__ = [
    "ContainerImages",
    "Credential",
    "PrepareRequest",
    "PrepareResult",
    "PushRequest",
    "ReferrersPolicy",
    "Row",
    "copies_report",
    "credential",
    "environment_directories",
    "place",
    "report",
    "report_page",
]

_ENVIRONMENTS = "~/.tripleo/environments"


def environment_directories() -> list[str]:
    """The directories whose environments are read without being named."""
    exists = os.path.lexists(os.path.expanduser(_ENVIRONMENTS))
    return [_ENVIRONMENTS] if exists else []


class ContainerImages:
    """The use cases of container images.

    :param options: how registries are reached.
    """

    def __init__(self, options: RegistryOptions | None = None) -> None:
        self._options = options or RegistryOptions()

    def prepare(
        self,
        request: PrepareRequest,
        *,
        plan: Plan | None = None,
        header: Sequence[str] = (),
        observer: Observer = SILENT,
    ) -> PrepareResult:
        """Bring images into place and write the parameters.

        See `container.prepare.prepare` for what it promises and raises.

        :param plan: a deployment plan to read and write; see
            `client.plans.open_plan`.
        :param header: comment lines for the files that are written.
        """
        from imageprep_client.client.workspaces import LocalWorkspaces
        from imageprep_client.container import prepare as preparing

        policies.check(self._options.signature_policy)
        with contextlib.ExitStack() as stack:

            def open_stores(
                parameters: PrepareParameters, policy: RetryPolicy
            ) -> Stores:
                self._options.check_destinations(parameters)
                stores = Stores(
                    self._options.with_parameters(parameters),
                    observer,
                    policy=policy,
                    lookasides=request.images_from is None,
                )
                stack.enter_context(stores)
                if request.images_from:
                    stores.check_place(request.images_from)
                return stores

            directory = cache.directory(os.environ, pathlib.Path.home())
            content = cache.ContentCache(directory / "content")
            checks = cache.CheckedImages(
                directory / "checked.json", recheck=request.recheck
            )
            stack.callback(content.save)
            stack.callback(checks.save)
            carrying = stack.enter_context(archives.opened(request))
            return preparing.prepare(
                request,
                open_stores=open_stores,
                workspaces=LocalWorkspaces(observer),
                plan=plan,
                undercloud_registry=undercloud.registry,
                observer=observer,
                now=datetime.datetime.now(),
                header=header,
                known=KnownContent(cache=content),
                checks=checks,
                carrying=carrying,
            )

    def push_image(
        self, request: PushRequest, observer: Observer = SILENT
    ) -> Row:
        """Copy one image; see `container.pushing.push`.

        :raises PartialFailure: when the copy is in place, but the name of
            the local image could not be removed.
        """
        from imageprep_client.client import local_images
        from imageprep_client.container import pushing

        policies.check(self._options.signature_policy)
        target = self._options.location(request.registry_url)
        policy = BRIEF if request.dry_run else PATIENT
        with contextlib.ExitStack() as stack:
            local = stack.enter_context(local_images.source(request))
            reference = (
                local.reference if local else pushing.source_of(request.image)
            )
            sources, destinations = (
                stack.enter_context(
                    Stores(
                        self._options.with_credentials({registry: login}),
                        observer,
                        policy=policy,
                    )
                )
                for registry, login in (
                    (reference.registry, request.source_credential),
                    (target.registry, request.credential),
                )
            )
            row = pushing.push(
                request,
                reference,
                target,
                source=local.store
                if local
                else lambda named, *_: sources.source(named),
                destination=destinations.destination,
                locked=destinations.locked,
                admission=sources.admission(
                    reference, local=request.local_name
                ),
                observer=observer,
                concurrency=self._options.concurrency,
            )
            if local and request.cleanup and not request.dry_run:
                local.clean_up()
            return row

    def discover_tag(
        self, image: str, label: str | None, observer: Observer = SILENT
    ) -> str:
        """The versioned tag behind the tag of an image.

        :param image: a `Location` of an image.
        :param label: as in `versioned.discover`; None is an error that
            tells the labels.
        :raises DiscoveryError: when no tag comes out.
        """
        from imageprep_client.container.discovery import versioned

        reference = Reference.parse(image)
        with Stores(self._options, observer) as stores:
            stores.check_tree()
            return versioned.versioned_tag(
                stores.reading(reference.registry, reference.repository),
                str(reference),
                reference.identifier,
                label,
            )
