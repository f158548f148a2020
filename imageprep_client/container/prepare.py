"""The use case: from heat environments to images in place and parameters."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from imageprep_client import catalog as catalogs
from imageprep_client import discovery, errors
from imageprep_client.container import ceph, outputs, worklist
from imageprep_client.container.availability import Availability
from imageprep_client.container.request import (
    OpenStores,
    PrepareRequest,
    PrepareResult,
    Row,
)
from imageprep_client.heat import environment, parameters, roles, services
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.base import Plan
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.ledger import Ledger
from imageprep_client.transfer.survey import Copy
from imageprep_client.transfer.workers import Workers


def prepare(
    request: PrepareRequest,
    *,
    open_stores: OpenStores,
    plan: Plan | None,
    undercloud_registry: Callable[[], str],
    observer: Observer,
    now: datetime.datetime,
) -> PrepareResult:
    """Discover, copy, and write the parameters.

    The parameters are written, to the file and the plan, only when every
    image that they name is in place; a dry run writes the file as if it
    were. The report is written in any case.

    :param undercloud_registry: the ``host:port`` for
        ``push_destination: true`` where no parameter names it.
    :raises InputError: nothing was done.
    :raises DiscoveryError: no image was copied.
    :raises StoreError: nothing could be done.
    """
    outputs.check(request, plan)
    inputs = _read(request, plan)
    vars_text = (
        ceph.render(
            ceph.credential(
                inputs.parameters, inputs.catalog, inputs.selections
            )
        )
        if request.ceph_vars_file
        else ""
    )
    run = _Run(request, inputs, open_stores, observer)
    pins = run.discover()
    work = worklist.build(
        inputs.selections,
        pins=pins,
        parameters=inputs.parameters,
        undercloud_registry=undercloud_registry,
        now=now,
    )
    if not work.images:
        observer.warning(
            "no image is wanted: look at includes, excludes and the roles"
        )
    result = run.carry_out(work)
    outputs.write(request, inputs.catalog, plan, result, vars_text, observer)
    return result


@dataclasses.dataclass(frozen=True, slots=True)
class _Inputs:
    """What was read, before any network is used."""

    parameters: parameters.PrepareParameters
    catalog: catalogs.Catalog
    selections: Sequence[worklist.Selection]


def _read(request: PrepareRequest, plan: Plan | None) -> _Inputs:
    """Read plan, environments, roles and table; check all of it."""
    layers: list[environment.Layer] = []
    stored_roles = None
    if plan is not None:
        content = plan.read()
        layers.extend(
            environment.layer(data, name)
            for name, data in content.environments
        )
        stored_roles = content.roles
    paths = environment.collect(
        request.environment_files,
        request.environment_directories,
        optional_directories=request.optional_directories,
    )
    own = [environment.load(path) for path in paths]
    layers.extend(own)
    merged = environment.merge(layers)
    deployment_roles: Sequence[roles.Role] = ()
    if request.roles_files:
        deployment_roles = roles.load(request.roles_files)
    elif stored_roles is not None:
        deployment_roles = roles.parse(stored_roles, "roles_data.yaml")
    wanted = parameters.parse(merged)
    catalog = catalogs.load(request.release or catalogs.DEFAULT_RELEASE)
    if request.template_file:
        catalog = catalog.with_template(request.template_file)
    outputs.spare(request, own, [*request.roles_files, request.template_file])
    enabled = services.enabled(merged, deployment_roles)
    return _Inputs(wanted, catalog, worklist.select(wanted, catalog, enabled))


class _Run:
    """The part of a preparation that uses the network."""

    def __init__(
        self,
        request: PrepareRequest,
        inputs: _Inputs,
        open_stores: OpenStores,
        observer: Observer,
    ) -> None:
        self._request = request
        self._inputs = inputs
        self._open_stores = open_stores
        self._observer = observer
        self._concurrency = request.concurrency or engine.CONCURRENCY
        self._patient = open_stores(
            inputs.parameters, patient=not request.dry_run
        )
        self._opened = [self._patient]
        self._descriptors: dict[Reference, Descriptor] = {}

    def discover(self) -> Mapping[worklist.Key, worklist.Pin]:
        """The tags and labels of the images whose entries ask for them."""
        wanted = worklist.to_discover(self._inputs.selections)
        pins: dict[worklist.Key, worklist.Pin] = {}
        lock = threading.Lock()

        def find(query: worklist.Query) -> None:
            found = discovery.discover(
                self._patient.source(query.reference),
                str(query.reference),
                query.reference.identifier,
                query.label,
                fallback=query.default_tag,
            )
            pinned = dataclasses.replace(query.reference, tag=found.tag)
            pin = worklist.Pin(
                found.tag if query.label else "", frozenset(found.labels)
            )
            with lock:
                pins[query.key] = pin
                self._descriptors[pinned] = found.descriptor

        self._observer.phase("discover", len(wanted))
        with Workers(self._concurrency, keep_going=True) as workers:
            failures = [e for _, e in workers.each(find, wanted)]
        if failures:
            raise _together(failures, "no tag could be discovered")
        return pins

    def carry_out(self, work: worklist.Worklist) -> PrepareResult:
        """Copy what is to be copied, look at what is only named."""
        items = work.images
        modified = [i for i in items if i.modification]
        if modified and not self._request.dry_run:
            raise errors.InvalidFile(
                modified[0].entry.path,
                "images cannot be modified yet; only a dry run is possible",
                key=f"{modified[0].entry.key}.modify_role",
            )
        copies = [i for i in items if i.push_destination]
        named = [i for i in items if not i.push_destination]
        availability = self._available(
            [*copies, *named] if self._request.dry_run else named
        )
        rows, failures = self._look(named, availability)
        more_rows, more_failures = (
            self._rehearse(copies, availability)
            if self._request.dry_run
            else self._copy(copies)
        )
        rows += more_rows
        failures += more_failures
        values: dict[str, Any] = dict(work.parameters)
        if self._request.pin_digests and not failures:
            self._pin(values, rows, work)
        insecure = self._insecure(values)
        if insecure:
            values[parameters.INSECURE_REGISTRIES] = insecure
        rows.sort(key=lambda row: (row.image, row.destination))
        return PrepareResult(rows, values, failures)

    def _available(self, items: Sequence[worklist.WorkItem]) -> Availability:
        """Ask for images that need not be copied from this host."""
        stores = self._patient
        if items and not self._request.dry_run:
            stores = self._open_stores(self._inputs.parameters, patient=False)
            self._opened.append(stores)

        def resolve(reference: Reference) -> Descriptor:
            known = self._descriptors.get(reference)
            return known or stores.source(reference).resolve(
                reference.identifier
            )

        availability = Availability(resolve, self._observer, self._concurrency)
        availability.ask(item.source for item in items)
        return availability

    def _look(
        self,
        items: Sequence[worklist.WorkItem],
        availability: Availability,
    ) -> tuple[list[Row], list[errors.ImagePrepError]]:
        """Rows for images that are used where they are."""
        rows = []
        failures: list[errors.ImagePrepError] = []
        for item in items:
            found = availability.found(item.source)
            missing = availability.missing(item.source)
            if missing is not None:
                failures.append(missing)
            elif found is None and self._request.pin_digests:
                reason = availability.unchecked(item.source)
                missing = errors.Unreachable(
                    f"{item.source}: its digest is not known: {reason}",
                    hint=reason.hint if reason else None,
                )
                failures.append(missing)
            outcome = "referenced" if found else "unchecked"
            rows.append(
                Row(
                    image=item.image,
                    source=str(item.source),
                    digest=found.digest if found else "",
                    outcome="failed" if missing else outcome,
                    error=str(missing or ""),
                )
            )
        return rows, failures

    def _rehearse(
        self,
        items: Sequence[worklist.WorkItem],
        availability: Availability,
    ) -> tuple[list[Row], list[errors.ImagePrepError]]:
        """Rows of what a run would copy, as far as registries answer."""
        unknown = [i for i in items if not availability.found(i.source)]
        known = [i for i in items if availability.found(i.source)]
        rows, failures = self._look(unknown, availability)
        rows = [
            dataclasses.replace(row, destination=item.target)
            for row, item in zip(rows, unknown, strict=True)
        ]
        for item, outcome in zip(
            known, self._transfer(known, availability), strict=True
        ):
            error = outcome.error
            row = _row(item, outcome)
            if error is not None:
                if isinstance(error.__cause__, errors.NotFound):
                    failures.append(error)
                else:
                    self._observer.warning(str(error))
                    row = dataclasses.replace(row, outcome="unchecked")
            rows.append(row)
        return rows, failures

    def _copy(
        self, items: Sequence[worklist.WorkItem]
    ) -> tuple[list[Row], list[errors.ImagePrepError]]:
        """Copy, and tell what became of each image."""
        if not items:
            return [], []
        copies = self._copies(items, None)
        with self._patient.locked(self._observer.waiting):
            outcomes = self._engine(copies)
        rows = [_row(i, o) for i, o in zip(items, outcomes, strict=True)]
        return rows, [o.error for o in outcomes if o.error]

    def _transfer(
        self,
        items: Sequence[worklist.WorkItem],
        availability: Availability,
    ) -> Sequence[engine.Outcome]:
        return self._engine(self._copies(items, availability))

    def _engine(self, copies: Sequence[Copy]) -> Sequence[engine.Outcome]:
        return engine.copy_all(
            copies,
            observer=self._observer,
            ledger=Ledger(),
            concurrency=self._concurrency,
            keep_going=self._request.keep_going,
            dry_run=self._request.dry_run,
        )

    def _copies(
        self,
        items: Sequence[worklist.WorkItem],
        availability: Availability | None,
    ) -> list[Copy]:
        host = graph.host_platform()
        only = tuple(self._request.platforms)
        return [
            Copy(
                name=str(item.source),
                source=self._patient.source(item.source),
                reference=item.source.identifier,
                destination=self._patient.destination(
                    item.push_destination, item.repository
                ),
                tag=item.tag,
                platform=None if item.multi_arch or only else host,
                only=only,
                attached=self._request.referrers,
                descriptor=availability.found(item.source)
                if availability
                else self._descriptors.get(item.source),
            )
            for item in items
        ]

    def _pin(
        self,
        values: dict[str, Any],
        rows: Sequence[Row],
        work: worklist.Worklist,
    ) -> None:
        """Let the parameters name digests instead of tags."""
        digests = {row.destination or row.image: row.digest for row in rows}
        by_target = {i.target: i for i in work.images}
        for name, value in values.items():
            item = by_target[value]
            digest = digests[item.target]
            if not digest:
                raise errors.Unreachable(
                    f"{item.source}: its digest is not known, because it was"
                    " not checked"
                )
            tagged = value.partition("@")[0]
            values[name] = f"{tagged.rpartition(':')[0]}@{digest}"

    def _insecure(self, values: Mapping[str, str]) -> list[str]:
        """Registries that nodes have to be told to trust, sorted."""
        hosts = {value.partition("/")[0] for value in values.values()}
        insecure = (stores.insecure() for stores in self._opened)
        return sorted(hosts & frozenset().union(*insecure))


def _row(item: worklist.WorkItem, outcome: engine.Outcome) -> Row:
    return Row.of(
        outcome,
        image=item.image,
        source=str(item.source),
        destination=item.target,
    )


def _together(
    failures: Sequence[errors.ImagePrepError], summary: str
) -> errors.ImagePrepError:
    """One error for several images: access problems first, as one."""
    for failure in failures:
        if isinstance(
            failure,
            errors.Unreachable | errors.AccessDenied | errors.InputError,
        ):
            return failure
    return errors.PartialFailure(
        f"{summary} for {len(failures)} images"
        if len(failures) > 1
        else summary,
        failures,
    )
