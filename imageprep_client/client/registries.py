"""Registries, trees and layouts: their images, and what keeps them whole."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.heat.parameters import Credential, PrepareParameters
from imageprep_client.host import undercloud
from imageprep_client.observer import SILENT, Observer
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.registries import (
    inventory,
    pruning,
    removal,
    verification,
)
from imageprep_client.registries.inventory import Details, RegistryImage
from imageprep_client.registries.pruning import PruneRequest, PruneResult
from imageprep_client.registries.registry import Registry
from imageprep_client.registries.removal import Removed
from imageprep_client.registries.verification import BlobCheck, Verdict
from imageprep_client.stores import base
from imageprep_client.stores.stored_files import KeepsFiles
from imageprep_client.transfer import graph

__all__ = [
    "BlobCheck",
    "Details",
    "PruneRequest",
    "PruneResult",
    "Registries",
    "RegistryImage",
    "Removed",
    "Verdict",
]


class Registries:
    """Lists, shows and deletes images; verifies and prunes whole places.

    Wherever a `registry_url` may be given, it is a `Location`; None is the
    undercloud's registry.

    :param options: how registries are reached.
    """

    def __init__(self, options: RegistryOptions | None = None) -> None:
        self._options = options or RegistryOptions()

    def images(
        self,
        registry_url: str | None = None,
        *,
        attached: bool = False,
        details: bool = False,
        credential: Credential | None = None,
        observer: Observer = SILENT,
    ) -> list[RegistryImage]:
        """All images of a place, sorted by name.

        :param attached: whether tags of signatures and other attached
            artifacts are listed, too.
        :param details: whether digest, size and age are asked for, which
            takes two requests for each image.
        """
        place = self._options.location(registry_url)
        with self._stores(observer, place, credential) as stores:

            def open_store(name: str) -> base.ReadableStore:
                return stores.reading(place.registry, name)

            names = inventory.images(
                stores.catalog(place.registry),
                open_store,
                prefix=place.path,
                attached=attached,
                concurrency=self._options.concurrency,
                observer=observer,
            )
            listed = [RegistryImage(name=f"{n}:{tag}") for n, tag in names]
            if details:
                listed = inventory.sized(
                    names,
                    open_store,
                    concurrency=self._options.concurrency,
                    observer=observer,
                )
        host = f"{place.registry}/" if place.is_registry else ""
        return [
            dataclasses.replace(image, name=f"{host}{image.name}")
            for image in listed
        ]

    def name(self, image: str, registry_url: str | None = None) -> str:
        """The whole name of an image that a user means.

        :param image: as for `show_image`.
        :raises InvalidReference: when a part breaks the grammar.
        """
        return str(self._named(image, registry_url))

    def show_image(
        self,
        image: str,
        registry_url: str | None = None,
        *,
        credential: Credential | None = None,
        observer: Observer = SILENT,
    ) -> Details:
        """One image, closely.

        :param image: in the registry of its name, else of `registry_url`.
        """
        opened = self._image(image, registry_url, credential, observer)
        with opened as (stores, store, reference):
            details = inventory.inspect(store, reference, observer)
            admission = stores.admission(reference)
            if admission is None:
                return details
            root = store.resolve(details.digest)
            try:
                # Of an index the image for this host is what a run copies.
                platform = graph.OnePlatform(graph.host_platform())
                root = graph.walk(store, root, platform).root.descriptor
            except errors.NotFound:
                # It has none.
                pass
            try:
                accepted = admission.admit(store, [root])
            except errors.PolicyRefused as error:
                accepted = str(error)
            return dataclasses.replace(details, accepted=accepted)

    def delete_image(
        self,
        image: str,
        registry_url: str | None = None,
        *,
        credential: Credential | None = None,
        observer: Observer = SILENT,
    ) -> Removed:
        """Delete one image; see `registries.removal.remove`."""
        opened = self._image(image, registry_url, credential, observer)
        with opened as (stores, store, reference):
            stores.changing(reference.registry)
            with stores.locked(observer.waiting):
                removed = removal.remove(
                    store,
                    reference,
                    observer=observer,
                    concurrency=self._options.concurrency,
                )
                if isinstance(store, base.Flushes):
                    store.flush()
                return removed

    def verify(
        self,
        registry_url: str | None = None,
        *,
        blobs: BlobCheck = BlobCheck.DIGESTS,
        diff_ids: bool = False,
        observer: Observer = SILENT,
    ) -> Verdict:
        """Check all of a place; see `registries.verification.verify`."""
        place = self._options.location(registry_url)
        with Stores(self._options, observer) as stores:
            return verification.verify(
                stores.registry(place),
                blobs=blobs,
                diff_ids=diff_ids,
                concurrency=self._options.concurrency,
                observer=observer,
            )

    def prune(
        self,
        request: PruneRequest,
        registry_url: str | None = None,
        *,
        observer: Observer = SILENT,
    ) -> PruneResult:
        """Delete unnamed images; see `registries.pruning.prune`.

        References to a tree count whatever their registry is called, unless
        `registry_url` is given.
        """
        place = self._options.location(registry_url)
        if place.registry.startswith(("oci:", "oci-archive:", "memory:")):
            raise errors.InvalidArgument(
                f"{place}: only registries and trees are pruned",
                hint="delete the directory of a layout instead",
            )

        def is_here(registry: Registry, name: str) -> bool:
            if registry_url is None and isinstance(registry, KeepsFiles):
                return True
            return undercloud.are_one(name, place.registry)

        with contextlib.ExitStack() as stack:

            def open_registry(parameters: PrepareParameters) -> Registry:
                stores = Stores(
                    self._options.with_parameters(parameters), observer
                )
                stack.enter_context(stores)
                return stores.registry(place)

            return pruning.prune(
                request,
                open_registry=open_registry,
                is_here=is_here,
                observer=observer,
            )

    def _stores(
        self, observer: Observer, place: Location, login: Credential | None
    ) -> Stores:
        return Stores(
            self._options.with_credentials({place.registry: login}), observer
        )

    def _named(self, image: str, registry_url: str | None) -> Reference:
        return inventory.named(
            image, lambda: self._options.location(registry_url)
        )

    @contextlib.contextmanager
    def _image(
        self,
        image: str,
        registry_url: str | None,
        credential: Credential | None,
        observer: Observer,
    ) -> Iterator[tuple[Stores, base.Store, Reference]]:
        """An image, which need not exist, with its repository and stores."""
        options = self._options
        reference = self._named(image, registry_url)
        place = Location(reference.registry)
        with self._stores(observer, place, credential) as stores:
            if registry_url and not stores.are_one(
                place.registry, options.location(registry_url).registry
            ):
                raise errors.InvalidArgument(
                    f"{image}: its registry is not that of --registry-url,"
                    f" {registry_url}"
                )
            stores.check_tree()
            store = stores.reading(
                place.registry, reference.repository, mirrored=False
            )
            yield stores, store, reference
