"""Tables that fit 80 columns, and help texts that keep their paragraphs.

A table shows what people read: short names and digests, sizes in powers of
1024, times as ages. The other formats, and columns that ``-c`` chooses, have
everything.
"""

from __future__ import annotations

import argparse
import collections
import datetime
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cliff import columns

from imageprep_client import wording

if TYPE_CHECKING:
    from imageprep_client.client.images import Row

#: Characters of a digest, and tags in a list, that a table shows.
_DIGEST = 12
_TAGS = 3


class HelpFormatter(argparse.HelpFormatter):
    """Fills each paragraph of a description by itself."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            super(HelpFormatter, self)._fill_text(paragraph, width, indent)
            for paragraph in text.split("\n\n")
        )


class Brief(columns.FormattableColumn[str]):
    """Text of which a default table shows the essential part."""

    def human_readable(self) -> str:
        return self._value

    def brief(self) -> str:
        """What a default table shows."""
        return self._value


class Digest(Brief):
    """A digest, or a name that may be one."""

    def brief(self) -> str:
        algorithm, colon, encoded = self._value.partition(":")
        if colon and algorithm in ("sha256", "sha512"):
            return encoded[:_DIGEST]
        return self._value


class ImageName(Brief):
    """The name of an image.

    :param short: the end of it by which a table tells it from the others.
    """

    def __init__(self, value: str, short: str) -> None:
        super().__init__(value)
        self._short = short

    def brief(self) -> str:
        return self._short


class Hidden(Brief):
    """Text of a column that a default table does not have."""


class Names(columns.FormattableColumn[Sequence[str]]):
    """Several names: a few of them in a table, all in the other formats."""

    def human_readable(self) -> str:
        shown = ", ".join(self._value[:_TAGS])
        more = len(self._value) - _TAGS
        return f"{shown} and {more} more" if more > 0 else shown

    def machine_readable(self) -> str:
        return ", ".join(self._value)


class Size(columns.FormattableColumn[int]):
    """Bytes."""

    def human_readable(self) -> str:
        return wording.size(self._value)


class Age(columns.FormattableColumn[str]):
    """A time as RFC 3339 has it; its age in a table."""

    def human_readable(self) -> str:
        try:
            time = datetime.datetime.fromisoformat(self._value)
        except ValueError:
            return ""
        if time.tzinfo is None:
            time = time.replace(tzinfo=datetime.UTC)
        passed = datetime.datetime.now(datetime.UTC) - time
        return wording.age(passed.total_seconds())


def for_people(
    names: Sequence[str], data: Iterable[Sequence[Any]], *, chosen: bool
) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    """The table that is shown by default, without its hidden columns.

    :param chosen: whether the user chose columns, which are shown whole.
    """
    rows = [tuple(row) for row in data]
    if chosen or not rows:
        return names, rows
    shown = [
        number
        for number, cell in enumerate(rows[0])
        if not isinstance(cell, Hidden)
    ]
    return [names[number] for number in shown], [
        tuple(
            cell.brief() if isinstance(cell, Brief) else cell
            for cell in (row[number] for number in shown)
        )
        for row in rows
    ]


def image_names(names: Sequence[str]) -> list[ImageName]:
    """Names of images, in a table by their last part where that is enough."""
    ends = [name.rpartition("/")[2] for name in names]
    owners = collections.defaultdict(set)
    for name, end in zip(names, ends, strict=True):
        owners[end].add(name)
    return [
        ImageName(name, end if len(owners[end]) == 1 else name)
        for name, end in zip(names, ends, strict=True)
    ]


_COPIES = ("Image", "Source", "Destination", "Digest", "Outcome", "Bytes")


def copies(
    rows: Sequence[Row],
) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    """The table of images that were to be copied."""
    images = image_names([row.image for row in rows])
    return _COPIES, [
        (
            image,
            Hidden(row.source),
            Hidden(row.destination),
            Digest(row.digest),
            row.outcome,
            Size(row.copied),
        )
        for image, row in zip(images, rows, strict=True)
    ]


def summary(rows: Sequence[Row]) -> str:
    """The images by outcome, and their bytes."""
    outcomes = collections.Counter(str(row.outcome) for row in rows)
    counts = ", ".join(
        f"{number} {outcome}" for outcome, number in outcomes.most_common()
    )
    copied = sum(row.copied for row in rows)
    shared = sum(row.mounted + row.kept for row in rows)
    images = wording.counted(len(rows), "image")
    return (
        f"{images}: {counts or 'none'}; {wording.size(copied)} copied,"
        f" {wording.size(shared)} already there or shared"
    )
