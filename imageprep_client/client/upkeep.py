"""Verifying and pruning whole registries, trees and layouts."""

from __future__ import annotations

import contextlib

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import CONCURRENCY, Stores
from imageprep_client.heat.parameters import PrepareParameters
from imageprep_client.host import undercloud
from imageprep_client.observer import Observer
from imageprep_client.registries import pruning, verification
from imageprep_client.registries.pruning import PruneRequest, PruneResult
from imageprep_client.registries.registry import Registry
from imageprep_client.registries.verification import Verdict

__all__ = ["PruneRequest", "PruneResult", "Upkeep", "Verdict"]

_SILENT = Observer()


class Upkeep:
    """Verifies and prunes a whole place.

    Wherever a `registry_url` may be given, it is a `Location`; None is the
    undercloud's registry.

    :param options: how registries are reached.
    """

    def __init__(self, options: RegistryOptions | None = None) -> None:
        self._options = options or RegistryOptions()

    def verify(
        self,
        registry_url: str | None = None,
        *,
        quick: bool = False,
        diff_ids: bool = False,
        concurrency: int = CONCURRENCY,
        observer: Observer = _SILENT,
    ) -> Verdict:
        """Check a whole place; see `registries.verification.verify`."""
        place = self._options.location(registry_url)
        place.check_whole()
        with Stores(self._options, observer) as stores:
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
        registry_url: str | None = None,
        *,
        observer: Observer = _SILENT,
    ) -> PruneResult:
        """Delete unnamed images; see `registries.pruning.prune`.

        References to a tree count whatever their registry is called, unless
        `registry_url` is given.
        """
        place = self._options.location(registry_url)
        place.check_whole()
        if place.registry.startswith(("oci:", "oci-archive:", "memory:")):
            raise errors.InvalidArgument(
                f"{place}: only registries and trees are pruned",
                hint="delete the directory of a layout instead",
            )
        with contextlib.ExitStack() as stack:

            def open_registry(parameters: PrepareParameters) -> Registry:
                stores = Stores(
                    self._options.with_parameters(parameters),
                    observer,
                    concurrency=request.concurrency,
                )
                stack.enter_context(stores)
                return stores.registry(place.registry)

            return pruning.prune(
                request,
                open_registry=open_registry,
                by_name=registry_url is not None,
                is_here=lambda name: undercloud.are_one(name, place.registry),
                observer=observer,
            )
