"""The use case: sites first, then nodes."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence

from imageprep_client import ansible, errors
from imageprep_client.observer import Observer, Phase
from imageprep_client.preload import demand, nodes, sites
from imageprep_client.preload.demand import NodeDemand
from imageprep_client.preload.request import (
    NodeRow,
    NodeState,
    OnNode,
    PreloadRequest,
    PreloadResult,
    PreloadStores,
    SiteRow,
)
from imageprep_client.preload.simulation import (
    Figures,
    SimulatedSite,
    Simulation,
    simulate,
)
from imageprep_client.transfer import engine
from imageprep_client.transfer.known import KnownContent


def preload(
    request: PreloadRequest,
    stores: PreloadStores,
    *,
    observer: Observer,
    on_node: OnNode,
    dry_run: bool = False,
) -> PreloadResult:
    """Fill the sites, then have each node pull what it needs.

    A site or a node that fails does not hold up the others. A second call
    does what is missing.

    :param dry_run: look at sites and nodes, and change nothing.
    :raises InputError: nothing was done.
    :raises CombinedFailure: when no image can be found or is accepted by the
        signature policy.
    """
    began = time.monotonic()
    known = KnownContent()
    concurrency = request.concurrency or engine.CONCURRENCY
    with ansible.Session(*request.inventories) as session:
        wanted = demand.nodes(request, session.groups(request.hosts))
        images, absent = demand.resolve(wanted, stores, known, concurrency)
        if not images:
            raise errors.CombinedFailure(
                "none of the images can be brought", list(absent.values())
            )
        site_rows = sites.fill(
            wanted,
            images,
            stores,
            observer=observer,
            known=known,
            concurrency=concurrency,
            dry_run=dry_run,
        )
        # Nodes may pull for hours, and need connections themselves.
        stores.release()
        left = _left(wanted, site_rows)
        ready = [node for node in wanted if node.host not in left]
        observer.phase(Phase.NODES, len(ready))

        def note(row: NodeRow) -> None:
            on_node(row)
            if row.state not in (NodeState.LEFT, NodeState.PULLING):
                observer.advanced(Phase.NODES)

        pulled = nodes.run(
            request,
            ready,
            images,
            stores,
            session,
            on_node=note,
            only_look=dry_run,
        )
    made = {
        row.host: _with_absent(row, node, absent)
        for node, row in zip(ready, pulled, strict=True)
    }
    rows = [left.get(node.host) or made[node.host] for node in wanted]
    return PreloadResult(
        rows,
        site_rows,
        demand.unique_bytes(images.values()),
        round(time.monotonic() - began, 3),
        _estimate(request, rows, site_rows) if dry_run else None,
    )


def _estimate(
    request: PreloadRequest, rows: Sequence[NodeRow], sites: Sequence[SiteRow]
) -> Simulation:
    """The estimate for a preload, by the figures of the documentation."""
    fills = {row.registry: row.copied for row in sites}
    lacking: dict[str, list[tuple[int, int]]] = {}
    for row in rows:
        if row.state is NodeState.PLANNED:
            node = (row.missing or 0, row.images - (row.in_place or 0))
            lacking.setdefault(row.registry, []).append(node)
    figures = Figures()
    if request.rate:
        slower = min(figures.site_link, float(request.rate))
        figures = dataclasses.replace(figures, site_link=slower)
    return simulate(
        [
            SimulatedSite(fill=fills.get(name, 0), nodes=lacking.get(name, []))
            for name in dict.fromkeys([*fills, *lacking])
        ],
        request.nodes_per_registry,
        figures,
    )


def _left(
    wanted: Sequence[NodeDemand], site_rows: Sequence[SiteRow]
) -> dict[str, NodeRow]:
    """The rows of the nodes whose site has no image, by host."""
    reasons = {
        row.registry: next(iter(row.failures.values()))
        for row in site_rows
        if row.failures and len(row.failures) == row.images
    }
    return {
        node.host: NodeRow(
            host=node.host,
            registry=str(node.site),
            state=NodeState.LEFT,
            images=len(node.images),
            error=f"its site has no image: {reasons[str(node.site)]}",
        )
        for node in wanted
        if node.site and str(node.site) in reasons
    }


def _with_absent(
    row: NodeRow, node: NodeDemand, absent: Mapping[str, errors.ImagePrepError]
) -> NodeRow:
    """A row with the images that could not be found."""
    failures = {
        name: str(absent[name])
        for name in map(str, node.images)
        if name in absent
    }
    if not failures:
        return row
    state = row.state
    if state is not NodeState.UNREACHABLE:
        state = NodeState.FAILED
    return dataclasses.replace(
        row,
        state=state,
        failures={**failures, **row.failures},
        error=row.error or next(iter(failures.values())),
    )
