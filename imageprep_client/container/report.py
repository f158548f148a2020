"""The report of a preparation, for programs to read."""

from __future__ import annotations

import dataclasses
import json

from imageprep_client.container.request import PrepareResult

#: Raised when a key changes its meaning or goes away.
VERSION = 1


def render(result: PrepareResult, *, dry_run: bool) -> str:
    """JSON: ``version``, ``dry_run``, ``images`` (the rows), ``totals`` in
    bytes and images per outcome, ``parameters``.
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
        "parameters": dict(result.parameters),
    }
    return json.dumps(document, indent=2) + "\n"
