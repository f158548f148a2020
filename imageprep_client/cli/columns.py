"""Columns that are formatted in tables, and unchanged in JSON and YAML."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from cliff import columns

from imageprep_client import wording

#: Characters of a digest, and tags in a list, that a table shows.
_DIGEST = 12
_TAGS = 3


class Sentences(columns.FormattableColumn[list[str]]):
    """Sentences: one per line in tables, a list in JSON and YAML."""

    def human_readable(self) -> str:
        return "\n".join(self._value)


class Rows(columns.FormattableColumn[list[dict[str, Any]]]):
    """Objects: one per line in tables, with units of sizes."""

    def human_readable(self) -> str:
        return "\n".join(
            ", ".join(
                wording.size(value) if key == "size" else str(value)
                for key, value in row.items()
                if value
            )
            for row in self._value
        )


class Pairs(columns.FormattableColumn[dict[str, str]]):
    """A dictionary: one key per line in tables."""

    def human_readable(self) -> str:
        return "\n".join(f"{k}={v}" for k, v in self._value.items())


class Number(columns.FormattableColumn[int | None]):
    """A number, or None."""

    def human_readable(self) -> str:
        return "" if self._value is None else str(self._value)


class Size(columns.FormattableColumn[int | None]):
    """Bytes, with a unit in tables."""

    def human_readable(self) -> str:
        return "" if self._value is None else wording.size(self._value)


class Duration(columns.FormattableColumn[float | None]):
    """Seconds, with a unit in tables."""

    def human_readable(self) -> str:
        return "" if self._value is None else wording.duration(self._value)


class Brief(columns.FormattableColumn[str | None]):
    """Text, or None; a default table shows only its essential part."""

    def human_readable(self) -> str:
        return self._value or ""

    def brief(self) -> str:
        """The value in a default table."""
        return self.human_readable()


class Digest(Brief):
    """A digest, or a name that may be one."""

    def brief(self) -> str:
        text = self.human_readable()
        algorithm, colon, encoded = text.partition(":")
        if colon and algorithm in ("sha256", "sha512"):
            return encoded[:_DIGEST]
        return text


class ImageName(Brief):
    """The name of an image.

    :param short: the end of it by which a table tells it from the others.
    """

    def __init__(self, value: str | None, short: str) -> None:
        super().__init__(value)
        self._short = short

    def brief(self) -> str:
        return self._short


class Hidden(columns.FormattableColumn[Any]):
    """A value, or None, of a column that is not in a default table."""

    def human_readable(self) -> str:
        return "" if self._value is None else str(self._value)


class Names(columns.FormattableColumn[Sequence[str]]):
    """Several names: a few of them in a table, all in the other formats."""

    def human_readable(self) -> str:
        shown = ", ".join(self._value[:_TAGS])
        more = len(self._value) - _TAGS
        return f"{shown} and {more} more" if more > 0 else shown

    def machine_readable(self) -> str:
        return ", ".join(self._value)


class Age(columns.FormattableColumn[str | None]):
    """A time as RFC 3339 has it, or None; its age in a table."""

    def human_readable(self) -> str:
        try:
            time = datetime.datetime.fromisoformat(self._value or "")
        except ValueError:
            return ""
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.UTC)
        passed = datetime.datetime.now(datetime.UTC) - time
        return wording.age(passed.total_seconds())
