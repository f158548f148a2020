"""The report of a command."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.cli import base, report
from imageprep_client.host import files
from tests.unit.cli import test_base


def run(path: Path, action: Callable[[base.Command], None]) -> int:
    """The exit status of a command with this report."""
    return test_base.run(action, report=str(path))


def document(path: Path) -> dict[str, Any]:
    """The report in a file."""
    content: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return content


def test_fields(tmp_path: Path) -> None:
    """Every report has the fields of the life cycle, and the command's."""

    def action(command: base.Command) -> None:
        command.report = {"images": ["x"]}
        command.summary = "done"

    path = tmp_path / "report.json"
    assert run(path, action) == 0
    content = document(path)
    assert content.pop("started")
    assert content.pop("seconds") >= 0
    assert content == {
        "version": report.VERSION,
        "command": "openstack a 'b c'",
        "status": 0,
        "summary": "done",
        "images": ["x"],
        "failures": [],
    }


def test_failures(tmp_path: Path) -> None:
    """Each failure is there with its hint, and the exit status."""

    def action(command: base.Command) -> None:
        command.report = {}
        failures = [errors.NotFound("x: gone", hint="push it")]
        command.failure = errors.PartialFailure("1 failed", failures)

    path = tmp_path / "report.json"
    assert run(path, action) == 1
    content = document(path)
    assert content["status"] == 1
    assert content["failures"] == [{"error": "x: gone", "hint": "push it"}]


def test_refusal(tmp_path: Path) -> None:
    """A command that did nothing leaves the older report."""

    def action(_: base.Command) -> None:
        raise errors.InvalidArgument("x")

    path = tmp_path / "report.json"
    path.write_text("old")
    assert run(path, action) == 2
    assert path.read_text() == "old"


def test_missing_directory(tmp_path: Path) -> None:
    """A report that cannot be written is refused before the action."""
    done = []
    path = tmp_path / "no" / "report.json"
    assert run(path, lambda _: done.append(1)) == 2
    assert not done


def test_full_disk(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A report that cannot be written in the end is status 1."""

    def full(path: str, text: str) -> None:
        raise errors.NoSpace(f"{path}: no space left on device")

    def action(command: base.Command) -> None:
        command.report = {}

    monkeypatch.setattr(files, "write", full)
    assert run(tmp_path / "report.json", action) == 1
    assert "report.json: no space left" in caplog.text


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"environment_files": ["x", "REPORT"]}, "it was read for this run"),
        ({"authfile": "REPORT"}, "it was read for this run"),
        ({"output_env_file": "REPORT"}, "two results cannot be one file"),
        ({"log_file": "REPORT"}, "two results cannot be one file"),
        ({"plan_dir": "."}, "which is no place for results"),
    ],
)
def test_other_files(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    given: dict[str, Any],
    problem: str,
) -> None:
    """A report takes the place of no other file of the command line."""
    monkeypatch.chdir(tmp_path)
    words: dict[str, Any] = {
        name: ["./report" if word == "REPORT" else word for word in value]
        if isinstance(value, list)
        else value.replace("REPORT", "./report")
        for name, value in given.items()
    }
    parsed = argparse.Namespace(report="report", **words)
    with pytest.raises(errors.InvalidArgument, match=problem):
        report.check(parsed, words.get("log_file"))
