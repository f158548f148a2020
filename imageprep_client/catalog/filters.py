"""Filters that select images of a table: pure predicates.

The services are compared first, then the includes or excludes.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence, Set

from imageprep_client import deadlines
from imageprep_client.catalog.table_image import TableImage

Pattern = re.Pattern[str]

#: The remedy for expressions that are not matched in time.
HINT = "write the regular expressions without nested repetitions such as (a+)+"
#: Seconds for all names of a table, which usually take milliseconds.
_MATCHING = 5
# Most names begin with a word that nobody writes in a pattern.
_LIKENESS = 0.45


def serves(entry: TableImage, services: Set[str] | None) -> bool:
    """Whether one of these services needs the entry.

    :param services: the enabled services; None when they are unknown: every
        entry passes but those of later versions.
    """
    if services is None:
        return not entry.later
    return not entry.services.isdisjoint(services)


def matches(
    entry: TableImage, includes: Sequence[Pattern], excludes: Sequence[Pattern]
) -> bool:
    """Whether the patterns let the entry pass.

    They are searched for in the whole rendered name, registry and tag
    included. Where there are `includes`, one of them must match, and
    `excludes` are ignored; else none of `excludes` may match.
    """
    if includes:
        return any(pattern.search(entry.image) for pattern in includes)
    return not any(pattern.search(entry.image) for pattern in excludes)


def select(
    entries: Iterable[TableImage],
    services: Set[str] | None,
    includes: Sequence[str] = (),
    excludes: Sequence[str] = (),
) -> tuple[TableImage, ...]:
    """The entries that pass every filter, in their order.

    :param includes, excludes: regular expressions.
    :raises TimeoutError: when matching takes too long; only in the main
        thread.
    """
    wanted = [re.compile(pattern) for pattern in includes]
    unwanted = [re.compile(pattern) for pattern in excludes]
    with deadlines.interrupted(
        _MATCHING, f"the names of images were not matched within {_MATCHING} s"
    ):
        return tuple(
            entry
            for entry in entries
            if serves(entry, services) and matches(entry, wanted, unwanted)
        )


def nearest(pattern: str, entries: Sequence[TableImage]) -> str:
    """The name of the image that is most like it; empty if none is near."""
    names = {
        entry.image.rpartition("/")[2].partition(":")[0]: entry.image
        for entry in entries
    }
    near = difflib.get_close_matches(pattern, names, 1, _LIKENESS)
    return names[near[0]] if near else ""
