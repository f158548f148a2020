"""The report of a preparation, in JSON."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from imageprep_client.container.request import PrepareResult
from imageprep_client.heat.parameters import INSECURE_REGISTRIES
from imageprep_client.observer import ImageOutcome

#: Raised when a key changes its meaning or goes away.
VERSION = 1


def render(result: PrepareResult, *, dry_run: bool) -> str:
    """JSON: ``version``, ``dry_run``, ``images`` (the rows), ``totals`` in
    bytes and images per outcome, ``parameters`` (of images that are in place,
    or will be after a dry run).
    """
    outcomes: dict[str, int] = {}
    for row in result.rows:
        outcomes[row.outcome] = outcomes.get(row.outcome, 0) + 1
    document = {
        "version": VERSION,
        "dry_run": dry_run,
        "images": [dataclasses.asdict(row) for row in result.rows],
        "totals": {
            "outcomes": outcomes,
            "copied": sum(row.copied for row in result.rows),
            "mounted": sum(row.mounted for row in result.rows),
            "kept": sum(row.kept for row in result.rows),
        },
        "parameters": _parameters(result),
    }
    return json.dumps(document, indent=2) + "\n"


def _parameters(result: PrepareResult) -> dict[str, Any]:
    """The parameters without those that name an image that is not there."""
    absent = {
        row.destination or row.image
        for row in result.rows
        if row.outcome in (ImageOutcome.FAILED, ImageOutcome.LEFT)
    }
    left = {
        name: value
        for name, value in result.parameters.items()
        if isinstance(value, list) or value not in absent
    }
    registries = {
        value.partition("/")[0]
        for value in left.values()
        if isinstance(value, str)
    }
    insecure = [
        name
        for name in left.pop(INSECURE_REGISTRIES, ())
        if name in registries
    ]
    if insecure:
        left[INSECURE_REGISTRIES] = insecure
    return left
