"""The optional powers of the stores of a copy, found out once."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Self, TypeVar, cast

from imageprep_client.stores import base

_Power = TypeVar("_Power")


def _having(power: Callable[..., _Power], store: object) -> _Power | None:
    """The store, or None if its class lacks the power."""
    # issubclass keeps its answers; isinstance of a protocol is slow before
    # Python 3.12.
    has = isinstance(power, type) and issubclass(type(store), power)
    return cast(_Power, store) if has else None


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
            _having(base.ReadsAhead, store),
            _having(base.ListsTags, store),
            _having(base.ListsReferrers, store),
            _having(base.FetchesFrom, store),
            _having(base.LeavesOut, store),
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
            _having(base.Mounts, store),
            _having(base.BeginsPushes, store),
            _having(base.PushesTagged, store),
            _having(base.Locates, store),
            _having(base.ChecksGraph, store),
            _having(base.KeepsPartial, store),
            _having(base.MeasuresSpace, store),
            _having(base.Flushes, store),
        )
