"""The fields of a report on copies of images."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence
from typing import Any

from imageprep_client.container.request import PrepareResult, Row
from imageprep_client.heat import parameters
from imageprep_client.observer import ImageOutcome


def fields(result: PrepareResult, *, dry_run: bool) -> dict[str, Any]:
    """The report of a preparation: that of its copies, and ``parameters`` (of
    images that are in place, or will be after a dry run).
    """
    return {
        **copies(result.rows, dry_run=dry_run),
        "parameters": _parameters(result),
    }


def copies(rows: Sequence[Row], *, dry_run: bool) -> dict[str, Any]:
    """``dry_run``, ``images`` (the rows), and ``totals`` in bytes and images
    per outcome.
    """
    outcomes = collections.Counter(str(row.outcome) for row in rows)
    return {
        "dry_run": dry_run,
        "images": [dataclasses.asdict(row) for row in rows],
        "totals": {
            "outcomes": dict(outcomes),
            "copied": sum(row.copied for row in rows),
            "mounted": sum(row.mounted for row in rows),
            "kept": sum(row.kept for row in rows),
        },
    }


def _parameters(result: PrepareResult) -> dict[str, Any]:
    """The parameters without those that name an image that is not there."""
    absent = {
        row.destination or row.image
        for row in result.rows
        if row.outcome in (ImageOutcome.FAILED, ImageOutcome.LEFT)
    }
    left = {
        name: value
        for name, value in parameters.flat(result.parameters).items()
        if isinstance(value, list) or value not in absent
    }
    registries = {
        value.partition("/")[0]
        for value in left.values()
        if isinstance(value, str)
    }
    insecure = [
        name
        for name in left.pop(parameters.INSECURE_REGISTRIES, ())
        if name in registries
    ]
    if insecure:
        left[parameters.INSECURE_REGISTRIES] = insecure
    return parameters.nested(left)
