"""The table of the nodes that pull."""

from __future__ import annotations

import dataclasses

import pytest

from imageprep_client.cli import nodes
from imageprep_client.client.preload import NodeRow, NodeState

_ROW = NodeRow(
    host="a", registry="", state=NodeState.PULLING, images=86, in_place=7
)


def made(count: int) -> nodes.Nodes:
    """So many nodes that pull."""
    shown = nodes.Nodes(lambda line: None)
    for number in range(count):
        name = f"node-{number}.\x1b[31m{'x' * 80}"
        shown.note(dataclasses.replace(_ROW, host=name))
    return shown


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 1000])
@pytest.mark.parametrize(("width", "height"), [(79, 10), (30, 3), (5, 40)])
def test_table_fits(count: int, width: int, height: int) -> None:
    """Any number of nodes fits a terminal, whatever their names are."""
    lines = made(count).table(width, height)
    assert len(lines) <= height
    assert all(len(line) <= width and line.isprintable() for line in lines)
    assert bool(lines) is bool(count)


def test_nodes_that_are_left_out() -> None:
    """The last line counts the nodes for which there is no room."""
    lines = made(1000).table(79, 10)
    assert lines[1].split()[-5:-2] == ["7", "of", "86"]
    assert lines[-1] == "and 992 further nodes"


def test_lines_of_nodes_that_are_done() -> None:
    """A node leaves the table with a line; one that waits has none."""
    told: list[str] = []
    shown = nodes.Nodes(told.append)
    shown.note(dataclasses.replace(_ROW, state=NodeState.LEFT))
    shown.note(_ROW)
    shown.note(
        dataclasses.replace(
            _ROW, state=NodeState.FAILED, seconds=2.4, error="it broke"
        )
    )
    assert told == ["a: failed, 7 of 86 images in 2 s: it broke"]
    assert not shown.table(79, 10)
