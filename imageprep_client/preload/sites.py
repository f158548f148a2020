"""Filling the registries of sites before their nodes pull from them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.location import Location
from imageprep_client.preload.demand import NodeDemand, NodeImage, unique_bytes
from imageprep_client.preload.request import PreloadStores, SiteRow
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.known import KnownContent


@dataclasses.dataclass(frozen=True, slots=True)
class _Wanted:
    site: Location
    image: NodeImage


def fill(
    nodes: Sequence[NodeDemand],
    images: Mapping[str, NodeImage],
    stores: PreloadStores,
    *,
    observer: Observer,
    known: KnownContent,
    concurrency: int,
    dry_run: bool,
) -> list[SiteRow]:
    """Copy to each site what its nodes need, each blob read once.

    The images were held against the signature policy when they were resolved.
    An image that fails at a site does not keep the others.

    :raises InvalidArgument: when two images have one name at a site.
    """
    wanted = _wanted(nodes, images)
    copies = [
        Copy(
            name=f"{one.image.reference} to {one.site}",
            source=stores.source(one.image.reference),
            reference=one.image.reference.identifier,
            destination=stores.further(
                one.site.registry,
                one.site.repository(one.image.reference.repository),
            ),
            tag=one.image.site_tag,
            platforms=graph.OnePlatform(graph.host_platform()),
            descriptor=one.image.descriptor,
        )
        for one in wanted
    ]
    results = (
        engine.copy_all(
            copies,
            observer=observer,
            concurrency=concurrency,
            keep_going=True,
            dry_run=dry_run,
            known=known,
            independently=True,
        )
        if copies
        else []
    )
    rows = []
    for site in dict.fromkeys(one.site for one in wanted):
        own = [
            (one.image, result)
            for one, result in zip(wanted, results, strict=True)
            if one.site == site
        ]
        copied = sum(result.copied for _, result in own)
        placed = [image for image, result in own if not result.error]
        # An image may also find what another one has brought.
        kept = max(0, unique_bytes(placed) - copied)
        rows.append(
            SiteRow(
                registry=str(site),
                nodes=sum(node.site == site for node in nodes),
                images=len(own),
                copied=copied,
                kept=kept,
                seconds=round(max(r.seconds for _, r in own), 3),
                failures={i.name: str(r.error) for i, r in own if r.error},
            )
        )
    return rows


def _wanted(
    nodes: Sequence[NodeDemand], images: Mapping[str, NodeImage]
) -> list[_Wanted]:
    """The images of each site, each once."""
    wanted: dict[tuple[str, str, str], _Wanted] = {}
    for node in nodes:
        if node.site is None:
            continue
        for name in map(str, node.images):
            if name not in images:
                continue
            image = images[name]
            key = (str(node.site), image.reference.repository, image.site_tag)
            known = wanted.setdefault(key, _Wanted(node.site, image))
            if known.image.descriptor != image.descriptor:
                raise errors.InvalidArgument(
                    f"{node.site}: {known.image.name} and {image.name} have"
                    " the same name there",
                    hint="give one of them a site of its own, or a path"
                    " after the registry of the site",
                )
    return list(wanted.values())
