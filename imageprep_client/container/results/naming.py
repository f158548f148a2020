"""The values of the parameters once the results of the copies are known.

The worklist names images as the user does. A copy may leave out what nodes
do not need, and what is at the destination has a digest of its own then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from imageprep_client import errors
from imageprep_client.container.request import Row
from imageprep_client.container.worklist import WorkItem, Worklist
from imageprep_client.observer import ImageOutcome, Observer


def stored(
    work: Worklist, rows: Sequence[Row], observer: Observer
) -> tuple[dict[str, str], list[Row]]:
    """The parameters and the rows, with the digests of what was stored.

    Of an index that was given by its digest, the destination may hold the
    image of one platform only. Where a dry run cannot know its digest, its
    tag is what is named.
    """
    by_target = {row.destination: row for row in rows}
    names = {
        item.target: _stored(item, by_target[item.target], observer)
        for item in work.images
        if item.push_destination and "@" in item.target
    }
    values = {
        parameter: names.get(target, target)
        for parameter, target in work.parameters.items()
    }
    return values, [
        dataclasses.replace(
            row,
            destination=row.destination
            and names.get(row.destination, row.destination),
        )
        for row in rows
    ]


def _stored(item: WorkItem, row: Row, observer: Observer) -> str:
    """The name of this item's image at its destination."""
    tagged, _, given = item.target.partition("@")
    digest = row.digest or (given if item.multi_arch else "")
    if digest:
        return f"{tagged}@{digest}"
    if row.outcome is ImageOutcome.UNCHECKED:
        observer.warning(
            f"{item.source}: named by its tag: the digest that it has at its"
            " destination is not known, because it was not checked"
        )
    return tagged


def pinned(
    work: Worklist, rows: Sequence[Row], observer: Observer
) -> dict[str, str]:
    """The parameters, with digests in place of tags.

    :raises Unreachable: when the digest of an image is not known.
    """
    digests = {row.destination or row.image: row.digest for row in rows}
    by_target: Mapping[str, WorkItem] = {i.target: i for i in work.images}
    values = dict(work.parameters)
    for name, value in values.items():
        item = by_target[value]
        digest = digests[item.target]
        if not digest and item.modification:
            observer.warning(
                f"{name} keeps its tag: a dry run makes no image that"
                " could have a digest"
            )
            continue
        if not digest:
            raise errors.Unreachable(
                f"{item.source}: its digest is not known, because it was"
                " not checked"
            )
        tagged = value.partition("@")[0]
        values[name] = f"{tagged.rpartition(':')[0]}@{digest}"
    return values
