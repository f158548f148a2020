"""``--report``: the fields that the user guide tells."""

from __future__ import annotations

import importlib.metadata
import json
import re
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from imageprep_client.testing.streams import put
from tests.functional import base

GUIDE = Path(__file__).parents[2] / "doc/source/user/output.rst"
EVERY = {"version", "command", "started", "seconds", "status", "summary"}
ROW = {"image", "source", "destination", "digest", "outcome", "error"}
ROW |= {"seconds", "accepted", "copied", "mounted", "kept"}


@pytest.fixture
def tree(openstack: base.OpenStack) -> ImageServeTree:
    """A tree with one image under two tags."""
    tree = ImageServeTree(openstack.home / "tree")
    put(tree.store("ns/api"), content.image("api"), "1", "2")
    tree.store("ns/api").flush()
    return tree


def report(
    openstack: base.OpenStack, *words: str, status: int = 0
) -> dict[str, Any]:
    """The report of a command, but for the fields that every report has."""
    openstack(
        *("image-prepare", *words, "--report", "report.json"),
        status=status,
        stderr=r"[\s\S]+",
    )
    text = (openstack.home / "report.json").read_text("utf-8")
    fields: dict[str, Any] = json.loads(text)
    assert fields["version"] == 1
    assert fields["status"] == status
    assert fields["command"].startswith(f"openstack image-prepare {words[0]}")
    return {key: fields[key] for key in fields if key not in EVERY}


@pytest.mark.usefixtures("tree")
def test_push(openstack: base.OpenStack) -> None:
    """The report of a push is like that of a run."""
    fields = report(
        openstack,
        *("push", "image-serve:tree//ns/api:1"),
        *("--registry-url", "oci:layout"),
    )
    assert set(fields) == {"dry_run", "images", "totals", "failures"}
    (row,) = fields["images"]
    assert set(row) >= ROW
    assert row["outcome"] == "copied"


@pytest.mark.usefixtures("tree")
def test_delete(openstack: base.OpenStack) -> None:
    """The report says what is gone, and what still needs the manifest."""
    assert report(
        openstack,
        *("image", "delete", "--yes", "--image-serve", "tree", "ns/api:1"),
    ) == {
        "image": "ns/api:1",
        "tags": ["1"],
        "manifests": 0,
        "blobs": 0,
        "still": ["tag 2"],
        "failures": [],
    }


@pytest.mark.usefixtures("tree")
def test_prune(openstack: base.OpenStack) -> None:
    """The report has what a dry run would delete."""
    fields = report(
        openstack,
        *("prune", "--dry-run", "--keep-last", "1", "--image-serve", "tree"),
    )
    assert fields == {
        "dry_run": True,
        "deleted": [{"repository": "ns/api", "name": "1", "size": 0}],
        "size": 0,
        "kept": 1,
        "collected": True,
        "failures": [],
    }


def test_verify(openstack: base.OpenStack, tree: ImageServeTree) -> None:
    """The report has the problems that were found."""
    layer = next((tree.path / "v2/ns/api/blobs").glob("sha256:*"))
    layer.chmod(0o644)
    layer.write_bytes(b"x")
    fields = report(
        openstack, "verify", "--quick", "--image-serve", "tree", status=1
    )
    (problem,) = fields["problems"]
    assert problem["problem"] == "wrong size"
    assert problem["tags"] == ["1", "2"]
    assert [failure["error"] for failure in fields["failures"]] == [
        "1 problem found"
    ]


@pytest.mark.usefixtures("tree")
def test_refused(openstack: base.OpenStack) -> None:
    """A refused command writes no report."""
    openstack(
        *("image-prepare", "prune", "--yes", "--image-serve", "tree"),
        *("--report", "report.json"),
        status=2,
        stderr="nothing says what to keep[^\n]*\nhint: .*",
    )
    assert not (openstack.home / "report.json").exists()


def test_guide_has_every_command() -> None:
    """The guide tells the fields of every command that has a report."""
    group = "openstack.image_prepare.v1"
    reporting = set()
    for entry in importlib.metadata.entry_points(group=group):
        parser = entry.load()(None, None).get_parser("x")
        if "--report <file>" in parser.format_help():
            name = entry.name.removeprefix("image-prepare_")
            reporting.add(name.replace("_", " "))
    table = GUIDE.read_text("utf-8").partition("Reports\n-------")[2]
    rows = re.findall(r"^   \* - (.*(?:\n {7}.*)*)$", table, re.MULTILINE)
    assert reporting == set(re.findall("``([^`]*)``", "".join(rows)))
