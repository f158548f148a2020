"""Columns that are for people in tables, and as they are in JSON and YAML."""

from __future__ import annotations

from typing import Any

from cliff import columns

from imageprep_client.cli import progress


class Sentences(columns.FormattableColumn[list[str]]):
    """Sentences: one a line for people, a list in JSON and YAML."""

    def human_readable(self) -> str:
        return "\n".join(self._value)

    def machine_readable(self) -> list[str]:
        return self._value


class Rows(columns.FormattableColumn[list[dict[str, Any]]]):
    """Objects: one a line for people, with sizes that they can read."""

    def human_readable(self) -> str:
        return "\n".join(
            ", ".join(
                progress.size(value) if key == "size" else str(value)
                for key, value in row.items()
                if value
            )
            for row in self._value
        )

    def machine_readable(self) -> list[dict[str, Any]]:
        return self._value


class Pairs(columns.FormattableColumn[dict[str, str]]):
    """A dictionary: a line for each key for people."""

    def human_readable(self) -> str:
        return "\n".join(f"{k}={v}" for k, v in self._value.items())

    def machine_readable(self) -> dict[str, str]:
        return self._value


class Size(columns.FormattableColumn[int]):
    """Bytes, with a unit for people."""

    def human_readable(self) -> str:
        return progress.size(self._value)

    def machine_readable(self) -> int:
        return self._value
