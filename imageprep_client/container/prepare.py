"""The use case: from heat environments to images in place and parameters."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from imageprep_client import errors, wording
from imageprep_client.container import deployment, notices, worklist
from imageprep_client.container.carrying import Carriage, Carrying
from imageprep_client.container.copying import Copying, row, uncopied
from imageprep_client.container.deployment import Inputs
from imageprep_client.container.discovery import queries, versioned
from imageprep_client.container.discovery.availability import (
    Availability,
    look,
)
from imageprep_client.container.modification import changes
from imageprep_client.container.modification.images import Modifying
from imageprep_client.container.modification.workspace import Workspaces
from imageprep_client.container.request import (
    OpenStores,
    PrepareRequest,
    PrepareResult,
    Row,
)
from imageprep_client.container.results import ceph, naming, outputs
from imageprep_client.heat import parameters, services
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.stored import Plan
from imageprep_client.retry import BRIEF, PATIENT
from imageprep_client.transfer import engine, nearest
from imageprep_client.transfer.known import KeepsChecks, KnownContent

_UNMADE = (ImageOutcome.LEFT, ImageOutcome.FAILED)


def prepare(
    request: PrepareRequest,
    *,
    open_stores: OpenStores,
    workspaces: Workspaces,
    plan: Plan | None,
    undercloud_registry: Callable[[], str],
    observer: Observer,
    now: datetime.datetime,
    header: Sequence[str] = (),
    known: KnownContent | None = None,
    checks: KeepsChecks | None = None,
    carrying: Carrying | None = None,
) -> PrepareResult:
    """Discover, modify, copy, and write the parameters.

    The parameters are written, to the file and the plan, only when no image
    failed. A dry run writes them to the file. Without ``keep_going`` no image
    is copied when the tag of one could not be discovered.

    :param undercloud_registry: the ``host:port`` for
        ``push_destination: true`` where no parameter names it.
    :param known: content that is not fetched again.
    :param checks: see `transfer.engine.copy_all`.
    :param carrying: the archive that replaces all destinations, or None.
    :param header: comment lines for the files that are written.
    :raises InputError: nothing was done.
    :raises StoreError: nothing could be done.
    """
    outputs.check(request, plan)
    inputs = deployment.read(request, plan)
    for warning in inputs.warnings:
        observer.warning(warning)
    vars_text = (
        ceph.render(
            ceph.credential(
                inputs.parameters, inputs.catalog, inputs.selections
            )
        )
        if request.ceph_vars_file
        else ""
    )
    run = _Run(
        request,
        inputs,
        open_stores,
        workspaces,
        observer,
        known or KnownContent(),
        checks,
        carrying,
    )
    undercloud_registry = functools.cache(undercloud_registry)
    pins = run.discover(undercloud_registry)
    work = worklist.build(
        inputs.selections,
        pins=pins,
        parameters=inputs.parameters,
        undercloud_registry=undercloud_registry,
        now=now,
        images_from=request.images_from,
    )
    if not work.images and not work.undiscovered:
        reason = "look at includes, excludes and the roles"
        if services.enabled(inputs.environment, inputs.roles) == frozenset():
            reason = (
                "no node has a service: look at <Role>Count, CountDefault and"
                " ServicesDefault"
            )
        observer.warning(f"no image is wanted: {reason}")
    stops = work.undiscovered and not request.keep_going
    for warning in (
        *notices.unreachable(work),
        *parameters.overridden(work.parameters, inputs.environment),
    ):
        observer.warning(warning)
    result = run.leave(work) if stops else run.carry_out(work)
    if carrying and not result.failures and not request.dry_run:
        size = carrying.archive.finish()
        result = dataclasses.replace(result, carried=size)
    error: errors.ImagePrepError | None = None
    if stops:
        error = queries.together(work.undiscovered)
    elif not result.failures:
        # A plan has all parameters of the table.
        defaults = inputs.catalog.default_parameters() if plan else {}
        values = {**defaults, **result.parameters}
        result = outputs.write(
            request, plan, result, values, vars_text, header, observer
        )
        error = result.error
    if error is None and result.nothing_done:
        failures = result.all_failures
        error = failures[0]
        if not wording.is_one_cause(failures):
            error = errors.CombinedFailure(
                "no image could be copied", failures
            )
    return dataclasses.replace(result, error=error)


class _Run:
    """The part of a preparation that needs the network."""

    def __init__(
        self,
        request: PrepareRequest,
        inputs: Inputs,
        open_stores: OpenStores,
        workspaces: Workspaces,
        observer: Observer,
        known: KnownContent,
        checks: KeepsChecks | None,
        carrying: Carrying | None,
    ) -> None:
        self._request = request
        self._inputs = inputs
        self._open_stores = open_stores
        self._observer = observer
        self._concurrency = request.concurrency or engine.CONCURRENCY
        self._stores = open_stores(
            inputs.parameters, BRIEF if request.dry_run else PATIENT
        )
        self._opened = [self._stores]
        self._descriptors: dict[Reference, Descriptor] = {}
        self._content = known
        self._tags = queries.DestinationTags(self._stores.destination)
        self._copying = Copying(
            request,
            self._stores,
            observer,
            self._descriptors,
            known,
            self._tags,
            checks,
        )
        self._modifying = Modifying(
            request, workspaces, self._stores, self._copying, observer
        )
        self._carriage = carrying and Carriage(
            carrying, self._copying, self._stores, known, observer
        )

    def discover(
        self, undercloud_registry: Callable[[], str]
    ) -> Mapping[worklist.Key, worklist.Pin]:
        """Discover tags and labels of the images whose entries need them."""
        destinations = queries.destinations(
            self._inputs.selections,
            self._inputs.parameters,
            undercloud_registry,
        )

        def destination(key: worklist.Key) -> versioned.Destination | None:
            names = destinations.get(key)
            if names and not self._carriage:
                # The copy reports a destination that cannot be opened.
                with contextlib.suppress(errors.StoreError):
                    return self._tags.repository(*names)
            return None

        discovery = queries.discover(
            worklist.to_discover(
                self._inputs.selections, self._request.images_from
            ),
            self._stores.source,
            observer=self._observer,
            concurrency=self._concurrency,
            known=self._content,
            stored=self._request.images_from is not None,
            destination=destination,
            timeout=self._request.image_timeout,
            platforms=self._request.platforms,
        )
        self._descriptors.update(discovery.descriptors)
        return discovery.pins

    def leave(self, work: worklist.Worklist) -> PrepareResult:
        """The result without any copy, as some tags were not discovered."""
        rows = [uncopied(item, ImageOutcome.LEFT) for item in work.images]
        return self._result(work, rows, [])

    def carry_out(self, work: worklist.Worklist) -> PrepareResult:
        """Copy images, and check those that are only named."""
        items = work.images
        changes.check(items)
        if self._carriage:
            return self._result(work, *self._carriage.carry(items))
        copies = [i for i in items if i.push_destination]
        self._copying.additional.check(copies)
        named = [i for i in items if not i.push_destination]
        availability = self._available(
            [*copies, *named] if self._request.dry_run else named
        )
        rows, failures = look(
            named, availability, pinned=self._request.pin_digests
        )
        more_rows, more_failures = (
            self._rehearse(copies, availability)
            if self._request.dry_run
            else self._copy(copies)
        )
        rows += more_rows
        failures += more_failures
        return self._result(work, rows, failures)

    def _result(
        self,
        work: worklist.Worklist,
        rows: Sequence[Row],
        failures: Sequence[errors.ImagePrepError],
    ) -> PrepareResult:
        """Rows and parameters of all images, undiscovered ones included."""
        failures = [*(image.error for image in work.undiscovered), *failures]
        unmade = [row for row in rows if row.outcome in _UNMADE]
        if unmade and not failures:
            raise AssertionError(f"{unmade[0].image}: nobody says why not")
        names, named_rows = naming.stored(work, rows, self._observer)
        if self._request.pin_digests and not failures:
            names = naming.pinned(work, rows, self._observer)
        values: dict[str, Any] = dict(names)
        insecure = self._insecure(names)
        if insecure:
            values[parameters.INSECURE_REGISTRIES] = insecure
        named_rows += [
            Row(
                image=image.image,
                source=str(image.source),
                outcome=ImageOutcome.FAILED,
                error=str(image.error),
            )
            for image in work.undiscovered
        ]
        additional = self._copying.additional
        named_rows += additional.rows
        named_rows.sort(key=lambda row: (row.image, row.destination or ""))
        return PrepareResult(
            named_rows,
            parameters.nested(values),
            failures,
            additional.failures,
        )

    def _available(self, items: Sequence[worklist.WorkItem]) -> Availability:
        """Query images that this host does not copy."""
        stores = self._stores
        if items and not self._request.dry_run:
            stores = self._open_stores(self._inputs.parameters, BRIEF)
            self._opened.append(stores)

        def resolve(reference: Reference) -> Descriptor:
            known = self._descriptors.get(reference)
            return known or nearest.resolve(
                stores.source(reference), reference.identifier
            )

        availability = Availability(resolve, self._observer, self._concurrency)
        availability.ask(item.read_from for item in items)
        return availability

    def _rehearse(
        self, items: Sequence[worklist.WorkItem], availability: Availability
    ) -> tuple[list[Row], list[errors.ImagePrepError]]:
        """The rows of a dry run, as far as registries answer."""
        unknown = [i for i in items if not availability.found(i.read_from)]
        known = [i for i in items if availability.found(i.read_from)]
        rows, failures = look(
            unknown, availability, pinned=self._request.pin_digests
        )
        copies = [
            self._copying.copy(item, availability.found(item.read_from))
            for item in known
        ]
        results = self._copying.run_items(known, copies)
        unchecked = []
        for item, result in zip(known, results, strict=True):
            error = result.error
            told = row(item, result)
            if item.modification:
                # The source is known; the digest of the result is not.
                told = dataclasses.replace(told, digest=None)
            if error is not None:
                if isinstance(error.__cause__, errors.NotFound):
                    failures.append(error)
                else:
                    unchecked.append(str(error))
                    told = dataclasses.replace(
                        told, outcome=ImageOutcome.UNCHECKED
                    )
            rows.append(told)
        for group in wording.alike(unchecked):
            self._observer.warning(wording.line(group, "image"))
        planned = {
            row.destination
            for row in rows
            if row.outcome is ImageOutcome.PLANNED
        }
        modified = [i for i in items if i.modification]
        settled = self._modifying.settled(
            [i for i in modified if i.target in planned]
        )
        present = {row.destination: row for row in settled.rows}
        self._modifying.check(self._to_make(modified, unknown, settled.rows))
        rows = [present.get(row.destination, row) for row in rows]
        return rows, [*failures, *settled.failures]

    def _to_make(
        self,
        modified: Sequence[worklist.WorkItem],
        unknown: Sequence[worklist.WorkItem],
        settled: Iterable[Row],
    ) -> list[worklist.WorkItem]:
        """The modified images of a dry run that have yet to be made.

        :param unknown: those whose source does not answer; a run would check
            their destination first.
        """
        asked = self._modifying.settled([i for i in unknown if i.modification])
        rows = [*settled, *asked.rows]
        made = {row.destination for row in rows if row.digest}
        return [item for item in modified if item.target not in made]

    def _copy(
        self, items: Sequence[worklist.WorkItem]
    ) -> tuple[list[Row], list[errors.ImagePrepError]]:
        """Modify and copy images; their rows and errors."""
        modified = [i for i in items if i.modification]
        with self._modifying.changed(modified) as made:
            # The first of several that need a blob is asked for it: what was
            # fetched to be modified is not fetched again.
            wanted = [i for i in modified if i.target in made.copies]
            wanted += [i for i in items if not i.modification]
            if made.failures and not self._request.keep_going:
                for item in wanted:
                    made.leave(item)
                wanted = []
            copies = [
                made.copies.get(item.target) or self._copying.copy(item)
                for item in wanted
            ]
            if self._copying.additional:
                settled = made.take_settled(modified)
                wanted += settled
                copies += map(self._copying.in_place, settled)
            results: Sequence[engine.CopyResult] = ()
            if copies:
                with self._stores.locked(self._observer.waiting):
                    results = self._copying.run_items(wanted, copies)
        rows = [row(i, r) for i, r in zip(wanted, results, strict=True)]
        failures = [r.error for r in results if r.error]
        return [*made.rows, *rows], [*made.failures, *failures]

    def _insecure(self, values: Mapping[str, str]) -> list[str]:
        """The registries that nodes must treat as insecure, sorted."""
        hosts = {value.partition("/")[0] for value in values.values()}
        insecure = (stores.insecure(hosts) for stores in self._opened)
        return sorted(frozenset().union(*insecure))
