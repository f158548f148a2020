"""Tables that fit 80 columns, and help texts that keep their paragraphs.

A table shows what people read: short names and digests, sizes in powers of
1024, times as ages. The other formats, and columns that ``-c`` chooses, have
everything.
"""

from __future__ import annotations

import argparse
import collections
import enum
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from cliff.columns import FormattableColumn

from imageprep_client import errors, wording
from imageprep_client.cli import columns
from imageprep_client.observer import ImageOutcome

if TYPE_CHECKING:
    from imageprep_client.client.images import Row


# A digest of an image's name, cut after as many digits as in its column.
_DIGEST = re.compile(r"(@sha(?:256|512):[0-9a-f]{12})[0-9a-f]*")


# A tag, a digest or both at the end of an image's name.
_TAG = re.compile(r"(:[^/@]*)?(@[^/]*)?$")


class PrintableStream:
    """Writes to another stream what that can show.

    Control characters are escaped, and those that its encoding lacks.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> None:
        """Write text, whose line breaks stay."""
        lines = (errors.printable(line) for line in text.split("\n"))
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        shown = "\n".join(lines).encode(encoding, "backslashreplace")
        self._stream.write(shown.decode(encoding))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class HelpFormatter(argparse.HelpFormatter):
    """Fills each paragraph of a description by itself.

    The names of options and files are not broken at their hyphens. The options
    of a command follow its name on lines of their own where they do not fit
    beside it.
    """

    def _format_usage(self, *args: Any) -> str:
        usage = super()._format_usage(*args)
        if all(len(line) <= self._width for line in usage.splitlines()):
            return usage
        name = self._prog
        # argparse indents by the name unless that fills the line.
        self._prog = name.ljust(self._width)
        usage = super()._format_usage(*args)
        self._prog = name
        return re.sub(r" +\n", "\n", usage)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n\n".join(
            "\n".join(indent + line for line in self._split_lines(part, width))
            for part in text.split("\n\n")
        )

    def _split_lines(self, text: str, width: int) -> list[str]:
        words = " ".join(text.split())
        return textwrap.wrap(words, width, break_on_hyphens=False)


def for_people(
    names: Sequence[str],
    data: Iterable[Sequence[Any]],
    parsed_args: argparse.Namespace,
) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    """The table that is shown by default, without its hidden columns.

    With ``--long`` these are shown, too. Columns that the user chose are
    shown whole.
    """
    rows = [shown(row) for row in data]
    long = getattr(parsed_args, "long", False)
    if parsed_args.columns or not rows:
        return names, rows
    kept = [
        number
        for number, cell in enumerate(rows[0])
        if long or not isinstance(cell, columns.Hidden)
    ]
    return [names[number] for number in kept], [
        tuple(
            cell.brief() if isinstance(cell, columns.Brief) else cell
            for cell in (row[number] for number in kept)
        )
        for row in rows
    ]


def plain(row: Iterable[Any], format: str) -> tuple[Any, ...]:
    """The same cells as a format can have them.

    Members of enumerations are text, which YAML needs. JSON and YAML have
    null in place of a text that is empty.
    """
    cells = (
        cell.value if isinstance(cell, enum.Enum) else cell for cell in row
    )
    if format not in ("json", "yaml"):
        return tuple(cells)
    return tuple(None if _value(cell) == "" else cell for cell in cells)


def _value(cell: Any) -> Any:
    is_column = isinstance(cell, FormattableColumn)
    return cell.machine_readable() if is_column else cell


def shown(row: Iterable[Any]) -> tuple[Any, ...]:
    """The same cells for a table, where unknown values are empty."""
    return tuple("" if cell is None else cell for cell in row)


def for_csv(data: Iterable[Sequence[Any]]) -> Iterable[Sequence[Any]]:
    """The same rows with unknown values as None, which cliff leaves empty."""
    return (
        tuple(None if _value(cell) is None else cell for cell in row)
        for row in data
    )


def image_names(names: Sequence[str]) -> list[columns.ImageName]:
    """Names of images, in a table by their last part where that is enough."""
    ends = [name.rpartition("/")[2] for name in names]
    owners = collections.defaultdict(set)
    for name, end in zip(names, ends, strict=True):
        owners[end].add(name)
    return [
        columns.ImageName(
            name, _DIGEST.sub(r"\1", end if len(owners[end]) == 1 else name)
        )
        for name, end in zip(names, ends, strict=True)
    ]


#: The columns of a table of copies.
COPIES = ("Image", "Source", "Destination", "Digest", "Outcome", "Bytes")


def copies(
    rows: Sequence[Row],
) -> tuple[Sequence[str], Iterable[Sequence[object]]]:
    """The table of images that were to be copied.

    A default table shows the destinations of images with several ones.
    """
    images = image_names([row.image for row in rows])
    several = len({row.image for row in rows}) < len(rows)
    return COPIES, [
        (
            image,
            columns.Hidden(row.source),
            columns.ImageName(row.destination, _place(row))
            if several
            else columns.Hidden(row.destination),
            columns.Digest(row.digest),
            row.outcome,
            columns.Size(row.copied),
        )
        for image, row in zip(images, rows, strict=True)
    ]


def _place(row: Row) -> str:
    """The destination without the path that it shares with the source."""
    path = _TAG.sub("", row.destination or "").split("/")
    source = _TAG.sub("", row.source).split("/")
    while path[1:] and source and path[-1] == source[-1]:
        del path[-1], source[-1]
    return "/".join(path).rstrip("/")


def summary(rows: Sequence[Row], *, dry_run: bool) -> str:
    """The images by outcome, and their bytes."""
    counts = wording.tally(row.outcome for row in rows)
    copied = sum(row.copied for row in rows)
    shared = sum(row.mounted + row.kept for row in rows)
    count = len({row.image for row in rows})
    images = wording.counted(count, "image")
    if count < len(rows):
        images = f"{len(rows)} copies of {images}"
    done = "to copy" if dry_run else "copied"
    parts = [f"{images}: {counts or 'none'}; {wording.size(copied)} {done}"]
    # The size of an image that is present may not be known.
    if shared or ImageOutcome.PRESENT not in [row.outcome for row in rows]:
        parts.append(f"{wording.size(shared)} already there or shared")
    return ", ".join(parts)
