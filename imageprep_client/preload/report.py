"""The report of a preload, in JSON."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import Any

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.preload.request import (
    NodeRow,
    NodeState,
    PreloadResult,
    SiteRow,
)

#: Raised when a key changes its meaning or goes away.
VERSION = 1
_Row = typing.TypeVar("_Row", NodeRow, SiteRow)
_MAX_SIZE = 256 * 1024 * 1024


def fields(result: PreloadResult, *, dry_run: bool) -> dict[str, Any]:
    """``version``, ``dry_run``, ``nodes`` and ``sites`` (the rows),
    ``source_bytes``, ``seconds``, and of a plan ``estimate``.
    """
    found = {
        "version": VERSION,
        "dry_run": dry_run,
        "nodes": [dataclasses.asdict(row) for row in result.nodes],
        "sites": [dataclasses.asdict(row) for row in result.sites],
        "source_bytes": result.source_bytes,
        "seconds": result.seconds,
    }
    if result.estimate:
        found["estimate"] = dataclasses.asdict(result.estimate)
    return found


def read(path: str) -> PreloadResult:
    """The result that a report has.

    :raises InvalidFile: when it is no such report.
    """
    text = inputs.load(path, _MAX_SIZE)
    try:
        document = json.loads(text)
        if document["version"] != VERSION:
            raise ValueError(f"version {document['version']!r}")
        return PreloadResult(
            [_node(row) for row in document["nodes"]],
            [_checked(SiteRow(**row)) for row in document["sites"]],
            document["source_bytes"],
            document["seconds"],
        )
    except (KeyError, RecursionError, TypeError, ValueError) as error:
        raise errors.InvalidFile(
            path, f"no report of preload: {errors.structure(error)}"
        ) from None


def _node(row: dict[str, Any]) -> NodeRow:
    return _checked(NodeRow(**{**row, "state": NodeState(row["state"])}))


def _checked(row: _Row) -> _Row:
    """The row, whose values came from a file.

    :raises TypeError: when one has another type than its field.
    """
    for name, hint in typing.get_type_hints(type(row)).items():
        wanted = hint
        if not isinstance(hint, types.UnionType):
            wanted = typing.get_origin(hint) or hint
        if not isinstance(
            getattr(row, name), (int, float) if wanted is float else wanted
        ):
            raise TypeError(name)
    return row
