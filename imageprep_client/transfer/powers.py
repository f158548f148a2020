"""The optional powers of the stores of a copy, found out once."""

from __future__ import annotations

import dataclasses
from typing import Self

from imageprep_client.stores import base


@dataclasses.dataclass(frozen=True, slots=True)
class SourcePowers:
    """The optional powers of a source; None: it lacks the power."""

    reads_ahead: base.ReadsAhead | None
    lists_tags: base.ListsTags | None
    lists_referrers: base.ListsReferrers | None
    fetches_from: base.FetchesFrom | None
    leaves_out: base.LeavesOut | None

    @classmethod
    def of(cls, store: base.ReadableStore) -> Self:
        return cls(
            store if isinstance(store, base.ReadsAhead) else None,
            store if isinstance(store, base.ListsTags) else None,
            store if isinstance(store, base.ListsReferrers) else None,
            store if isinstance(store, base.FetchesFrom) else None,
            store if isinstance(store, base.LeavesOut) else None,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class DestinationPowers:
    """The optional powers of a destination; None: it lacks the power."""

    mounts: base.Mounts | None
    begins_pushes: base.BeginsPushes | None
    pushes_tagged: base.PushesTagged | None
    locates: base.Locates | None
    checks_graph: base.ChecksGraph | None
    keeps_partial: base.KeepsPartial | None
    measures_space: base.MeasuresSpace | None
    flushes: base.Flushes | None

    @classmethod
    def of(cls, store: base.Store) -> Self:
        return cls(
            store if isinstance(store, base.Mounts) else None,
            store if isinstance(store, base.BeginsPushes) else None,
            store if isinstance(store, base.PushesTagged) else None,
            store if isinstance(store, base.Locates) else None,
            store if isinstance(store, base.ChecksGraph) else None,
            store if isinstance(store, base.KeepsPartial) else None,
            store if isinstance(store, base.MeasuresSpace) else None,
            store if isinstance(store, base.Flushes) else None,
        )
