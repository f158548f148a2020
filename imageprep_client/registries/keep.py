"""The content that pruning keeps: named by environments, or the newest."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.heat.environment import Environment
from imageprep_client.oci.manifest import Manifest
from imageprep_client.oci.reference import Reference
from imageprep_client.oci.referrers import subject_tag
from imageprep_client.registries.graph import MISSING, Closure, RepositoryGraph
from imageprep_client.stores import base
from imageprep_client.transfer import graph as images
from imageprep_client.transfer.workers import Workers

#: The tags and digests to keep, by repository.
Names = Mapping[str, frozenset[str]]


def named(
    environments: Iterable[Environment], is_here: Callable[[str], bool]
) -> dict[str, frozenset[str]]:
    """The images in a registry that parameters of environments name.

    Every text is looked at, also those in lists and maps. Of a reference
    with a tag and a digest both are kept.

    :param is_here: whether a registry, as in a reference, is the registry.
    """
    kept_names: dict[str, set[str]] = {}
    values = [(e.parameter_defaults, e.parameters) for e in environments]
    for text in _texts(values):
        try:
            reference = Reference.parse(text)
        except errors.InvalidReference:
            continue
        if is_here(reference.registry):
            names = kept_names.setdefault(reference.repository, set())
            names.update(
                filter(
                    None,
                    (reference.tag, reference.digest, reference.identifier),
                )
            )
    return {name: frozenset(kept) for name, kept in kept_names.items()}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, Sequence):
        for part in value:
            yield from _texts(part)


def times(
    graphs: Iterable[RepositoryGraph], count: int, workers: Workers
) -> dict[str, str]:
    """When images were made, by the digest of their config.

    Each config is read once, whatever the number of its tags, and none of a
    repository whose tags are all among the `count` newest. The times are
    texts that sort; one that is not known is empty.

    :raises StoreError: if the times cannot be determined.
    """
    configs: dict[str, tuple[RepositoryGraph, Manifest]] = {}
    for graph in graphs:
        if len(_image_tags(graph)) <= count:
            continue
        for manifest in graph.manifests.values():
            if manifest.config:
                configs.setdefault(manifest.config.digest, (graph, manifest))

    def made(digest: str) -> str:
        graph, manifest = configs[digest]
        try:
            config = images.fetch_config(graph.store, manifest)
        except (errors.NotFound, errors.InvalidContent):
            return ""
        return _sortable(config.created)

    def request(digest: str) -> base.Prefetched | None:
        graph, manifest = configs[digest]
        if manifest.config is None or not isinstance(
            graph.store, base.Prefetches
        ):
            return None
        return graph.store.prefetch(manifest.config)

    read = workers.map(made, configs, request=request)
    return dict(zip(configs, read, strict=True))


def newest(
    graph: RepositoryGraph, made: Mapping[str, str], count: int
) -> list[str]:
    """The newest tags of a repository by the time their image was made.

    Of tags of the same age the last in order is the newest. Attached
    artifacts do not count, nor do tags that are listed and do not exist, such
    as ``_uploads`` in Artifactory.

    :param made: from `times`.
    """
    by_root: dict[str, str] = {}
    for digest in set(graph.tags.values()):
        manifests = (graph.manifests[name] for name in graph.below([digest]))
        by_root[digest] = max(
            (made.get(m.config.digest, "") for m in manifests if m.config),
            default="",
        )
    return sorted(
        _image_tags(graph), key=lambda tag: (by_root[graph.tags[tag]], tag)
    )[-count:]


def _image_tags(graph: RepositoryGraph) -> list[str]:
    return [
        tag
        for tag in graph.tags
        if not subject_tag(tag) and graph.broken.get(tag) != MISSING
    ]


def _sortable(time: str | None) -> str:
    """An RFC 3339 time in UTC; its fraction has any number of digits."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
        time or "",
        re.ASCII,
    )
    if not match:
        return ""
    zone = "+00:00" if match[4] in "Zz" else match[4]
    try:
        moment = datetime.datetime.fromisoformat(
            f"{match[1]}T{match[2]}{zone}"
        ).astimezone(datetime.UTC)
    except (ValueError, OverflowError):
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{(match[3] or '').rstrip('0')}"


def closure(graph: RepositoryGraph, names: Iterable[str]) -> Closure:
    """The tags and manifests to keep of a repository.

    :param names: tags and digests.
    :raises InvalidContent: when something kept cannot be read, so that it
        is not known what it needs.
    """
    kept = graph.closure(names)
    for name in sorted((kept.named | kept.tags) & graph.broken.keys()):
        if name in kept.tags or graph.broken[name] != MISSING:
            raise errors.InvalidContent(
                f"{graph.store}: {name}: {graph.broken[name]}, so what is to"
                " be kept is not known",
                hint="look at it with openstack image-prepare verify",
            )
    return kept
