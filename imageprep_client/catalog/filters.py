"""Which entries of a table a run takes: pure predicates.

They apply in this order: services, then includes or excludes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence, Set

from imageprep_client.catalog.table_image import TableImage

Pattern = re.Pattern[str]


def serves(entry: TableImage, services: Set[str] | None) -> bool:
    """Whether one of these services needs the entry.

    :param services: what is enabled; None where nothing is known about it,
        and then every entry passes.
    """
    return services is None or not entry.services.isdisjoint(services)


def matches(
    entry: TableImage, includes: Sequence[Pattern], excludes: Sequence[Pattern]
) -> bool:
    """Whether the patterns let the entry pass.

    They are searched for in the whole rendered name, registry and tag
    included. Where there are `includes`, one of them has to be found and
    `excludes` do not count; else none of `excludes` may be found.
    """
    if includes:
        return any(pattern.search(entry.image) for pattern in includes)
    return not any(pattern.search(entry.image) for pattern in excludes)


def select(
    entries: Iterable[TableImage],
    services: Set[str] | None,
    includes: Sequence[Pattern] = (),
    excludes: Sequence[Pattern] = (),
) -> tuple[TableImage, ...]:
    """The entries that pass every filter, in their order."""
    return tuple(
        entry
        for entry in entries
        if serves(entry, services) and matches(entry, includes, excludes)
    )
