"""Reports of nodes, which need not be true."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imageprep_client.ansible import HostJob, HostState, JobResult
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.preload import nodes
from imageprep_client.preload.demand import NodeDemand, NodeImage
from imageprep_client.preload.request import NodeRow, NodeState, PreloadRequest

_NAMES = [f"example.com/ns/image{n}:1" for n in range(3)]
_JOB = HostJob(host="h", lane="", document={})
_OK = JobResult("h", HostState.OK)


class Progress:
    """The progress of one node that needs three images.

    :ivar told: the rows so far.
    """

    def __init__(self, *, only_look: bool = False) -> None:
        references = [Reference.parse(name) for name in _NAMES]
        images = {
            str(reference): NodeImage(
                reference,
                Descriptor("x/y", f"sha256:{number:064}", 1),
                None,
                (),
            )
            for number, reference in enumerate(references)
        }
        self.told: list[NodeRow] = []
        self._progress = nodes._Progress(
            [NodeDemand("h", tuple(references), None)],
            images,
            self.told.append,
            only_look=only_look,
        )

    def look(self, **line: Any) -> None:
        """The node was looked at, and said this."""
        self._progress.started(_JOB)
        known = {"lacking": 0, "untagged": 0, "missing": 0, "free": 0}
        self._progress.line(_JOB, {**known, **line})
        self._progress.ended(_JOB, _OK)

    def pull(self, *lines: dict[str, Any], end: JobResult = _OK) -> NodeRow:
        """The node pulled, and said this."""
        request = PreloadRequest(inventories=[], lists={}, others=())
        self._progress.pulls(nodes._Shares(request, [""]))
        self._progress.started(_JOB)
        for line in lines:
            self._progress.line(_JOB, line)
        self._progress.ended(_JOB, end)
        return self.row

    def left(self, age: float) -> float:
        return self._progress.left(_JOB, age)

    @property
    def row(self) -> NodeRow:
        return self._progress.rows["h"]

    @property
    def lacks(self) -> bool:
        return "h" in self._progress.lacking


def pulled(name: str) -> dict[str, Any]:
    return {"image": name, "outcome": "pulled"}


def test_node_that_pulls_all() -> None:
    """The row counts what is in place, from the look to the end."""
    progress = Progress()
    progress.look(lacking=2, untagged=0, missing=70, free=200)
    assert progress.lacks
    assert progress.row.in_place == 1
    row = progress.pull({"lacking": 2, "missing": 70}, *map(pulled, _NAMES))
    assert row.state is NodeState.DONE
    assert (row.in_place, row.missing, row.free) == (3, 70, 200)
    states = list(dict.fromkeys(row.state for row in progress.told))
    assert states == [NodeState.LEFT, NodeState.PULLING, NodeState.DONE]


@pytest.mark.parametrize(
    ("line", "lacks", "state"),
    [
        ({"lacking": 0}, False, NodeState.PRESENT),
        ({"lacking": 0, "untagged": 1}, True, NodeState.PLANNED),
        ({"lacking": 3}, True, NodeState.PLANNED),
    ],
)
def test_look(line: dict[str, Any], lacks: bool, state: NodeState) -> None:
    """A node without an image, or without its name, is one that lacks."""
    progress = Progress(only_look=True)
    progress.look(**line)
    assert (progress.lacks, progress.row.state) == (lacks, state)


@pytest.mark.parametrize(
    "value",
    [
        *("x", "7", -1, 1.5, True, None, [], {}, 1 << 70),
        *(float("inf"), float("nan"), "\x1b[31m"),
    ],
)
def test_numbers_that_are_none(value: object) -> None:
    """A node whose numbers make no sense was not looked at."""
    for key in ("lacking", "missing"):
        progress = Progress(only_look=True)
        progress.look(**{key: value})
        assert progress.row.state is NodeState.FAILED
        assert progress.row.error == "the node does not say what it lacks"
        assert (progress.row.in_place, progress.row.missing) == (None, None)
        assert not progress.lacks


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [pulled(_NAMES[0])] * 3,
        [*map(pulled, [*_NAMES[:2], "example.com/other:1"])],
        [{"image": _NAMES, "outcome": "pulled"}],
        [{"image": {"a": 1}, "outcome": []}],
    ],
)
def test_node_that_claims_success(lines: list[dict[str, Any]]) -> None:
    """A node that says nothing of an image has not pulled it."""
    progress = Progress()
    progress.look(lacking=3)
    row = progress.pull(*lines)
    assert row.state is NodeState.FAILED
    assert row.in_place is not None
    assert row.in_place < 3
    assert "the node says nothing about it" in row.error


def test_image_that_is_gone_after_all() -> None:
    """A failure that is told after a success counts."""
    progress = Progress()
    progress.look(lacking=3)
    gone = {"image": _NAMES[1], "outcome": "failed", "error": "gone"}
    row = progress.pull(*map(pulled, _NAMES), gone)
    assert (row.state, row.in_place) == (NodeState.FAILED, 2)
    assert row.error == "gone"


def test_long_reason() -> None:
    """A reason is bounded, however long it is."""
    progress = Progress()
    progress.look(lacking=3)
    line = {"image": _NAMES[0], "outcome": "failed", "error": "x" * 10**6}
    row = progress.pull(line, end=JobResult("h", HostState.FAILED, "y"))
    assert len(json.dumps(row.failures)) < 2000
    assert row.state is NodeState.FAILED


def test_shares_of_the_rate() -> None:
    """The nodes that pull from a registry share its rate: those of the window
    at first, and fewer when no other waits.
    """
    request = PreloadRequest(
        inventories=[], lists={}, others=(), nodes_per_registry=2, rate=100
    )
    shares = nodes._Shares(request, ["a", "a", "a", "b"])
    told = []
    for _ in range(3):
        told.append((shares.of("a"), shares.of("b")))
        shares.ended("a")
    assert told == [(50, 100), (50, 100), (100, 100)]
    assert shares.of("a") == 100


@pytest.mark.parametrize(
    ("images", "age", "left"),
    [(0, 10.0, 10.0), (1, 10.0, 20.0), (3, 9.0, 1.8)],
)
def test_time_that_is_left(images: int, age: float, left: float) -> None:
    """The images that are there tell when a node will be done; looks do not
    become frequent while a last image takes long.
    """
    progress = Progress()
    progress.look(lacking=3)
    progress.pull(*map(pulled, _NAMES[:images]))
    assert progress.left(age) == pytest.approx(left)
