"""What must not go: what environments name, and the newest of each."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.heat.environment import Environment
from imageprep_client.oci import digest as digests
from imageprep_client.oci.manifest import Manifest
from imageprep_client.oci.reference import Reference
from imageprep_client.oci.referrers import subject_tag, tag_of
from imageprep_client.registries.repository import MISSING, Repository
from imageprep_client.transfer import graph

#: The tags and digests to keep, by repository.
Names = Mapping[str, frozenset[str]]


def named(
    environments: Iterable[Environment], is_here: Callable[[str], bool]
) -> dict[str, frozenset[str]]:
    """What the values of all environments' parameters name in a registry.

    Every text is looked at, also those in lists and maps. Of a reference
    with a tag and a digest both are kept.

    :param is_here: whether a registry, as in a reference, is the registry.
    """
    found: dict[str, set[str]] = {}
    values = [(e.parameter_defaults, e.parameters) for e in environments]
    for text in _texts(values):
        try:
            reference = Reference.parse(text)
        except errors.InvalidReference:
            continue
        if is_here(reference.registry):
            names = found.setdefault(reference.repository, set())
            names.update(
                filter(
                    None,
                    (reference.tag, reference.digest, reference.identifier),
                )
            )
    return {name: frozenset(kept) for name, kept in found.items()}


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, Sequence):
        for each in value:
            yield from _texts(each)


def newest(each: Repository, count: int) -> list[str]:
    """The newest tags of a repository by the time their image was made.

    Of tags as old as each other the later in order is the newer. What is
    attached to images does not count.
    """
    tags = [tag for tag in sorted(each.tags) if not subject_tag(tag)]
    made = {tag: _created(each, each.tags[tag]) for tag in tags}
    return sorted(tags, key=lambda tag: (made[tag], tag))[-count:]


def _created(each: Repository, digest: str) -> str:
    """When an image was made, as a text that sorts; empty when unknown."""
    times = [
        _config_time(each, each.manifests[name])
        for name in each.below([digest])
        if each.manifests[name].config
    ]
    return max(times, default="")


def _config_time(each: Repository, manifest: Manifest) -> str:
    try:
        config = graph.fetch_config(each.store, manifest)
    except (errors.NotFound, errors.InvalidContent):
        return ""
    return _sortable(config.created)


def _sortable(time: str) -> str:
    """An RFC 3339 time in UTC; its fraction has any number of digits."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
        time,
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


def closure(
    each: Repository, names: Iterable[str]
) -> tuple[frozenset[str], frozenset[str]]:
    """The tags and manifests to keep of a repository.

    The children of an index are kept with it, and what is attached to a
    manifest - by its subject or by a tag made of its digest - with that.

    :param names: tags and digests.
    :raises InvalidContent: when something kept cannot be read, so that it
        is not known what it needs.
    """
    tags = {name for name in names if name in each.tags}
    roots = {each.tags[tag] for tag in tags} | set(names)
    while True:
        kept = set(each.below(roots))
        known = roots | kept | each.names(kept)
        attached = {
            digest
            for digest, manifest in each.manifests.items()
            if manifest.subject and manifest.subject.digest in known
        }
        subjects = set(map(tag_of, filter(digests.is_valid, known)))
        more = {tag for tag in each.tags if subject_tag(tag) in subjects}
        attached |= {each.tags[tag] for tag in more}
        if attached <= roots and more <= tags:
            break
        roots |= attached
        tags |= more
    for name in sorted((known | tags) & each.broken.keys()):
        if name in tags or each.broken[name] != MISSING:
            raise errors.InvalidContent(
                f"{each.store}: {name}: {each.broken[name]}, so what is to"
                " be kept is not known",
                hint="look at it with image-prepare verify",
            )
    return frozenset(tags), frozenset(kept)
