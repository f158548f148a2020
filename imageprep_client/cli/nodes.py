"""The progress of nodes: lines, and a table on a terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from imageprep_client import errors, wording

if TYPE_CHECKING:
    from imageprep_client.client.preload import NodeRow

_NUMBERS = ("Images", "To Pull")
_WIDTHS = (12, 10)


class Nodes:
    """The pulling nodes, and a line for each finished node.

    :param tell: is called with the lines.
    """

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell = tell
        self._pulling: dict[str, NodeRow] = {}

    def note(self, row: NodeRow) -> None:
        """Record the new state of a node."""
        if row.state == "pulling":
            self._pulling[row.host] = row
            return
        self._pulling.pop(row.host, None)
        if row.state == "left":
            return
        placed = ""
        if row.in_place is not None:
            placed = f", {row.in_place} of {row.images} images"
        reason = f": {row.error}" if row.error else ""
        self._tell(
            f"{row.host}: {row.state}{placed} in {row.seconds:.0f} s{reason}"
        )

    def table(self, width: int, height: int) -> list[str]:
        """The pulling nodes, as lines that fit the terminal."""
        # Another thread adds to them.
        rows = list(self._pulling.copy().values())
        if not rows or height < 3:
            return []
        room = max(width - sum(_WIDTHS), 0)
        numbers = "".join(
            f"{name:>{size}}"
            for name, size in zip(_NUMBERS, _WIDTHS, strict=True)
        )
        lines = [f"{'Host':<{room}}{numbers}"]
        shown = rows if len(rows) < height else rows[: height - 2]
        for row in shown:
            host = errors.printable(row.host)[: max(room - 1, 0)]
            done = f"{row.in_place or 0} of {row.images}"
            missing = wording.size(row.missing or 0)
            lines.append(
                f"{host:<{room}}{done:>{_WIDTHS[0]}}{missing:>{_WIDTHS[1]}}"
            )
        if more := len(rows) - len(shown):
            lines.append(f"and {wording.counted(more, 'further node')}")
        return [line[:width] for line in lines]
