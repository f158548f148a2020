"""The results that commands print."""

from __future__ import annotations

import argparse
import io
import types
from typing import Any, cast

import pytest
from osc_lib import shell

from imageprep_client.cli import base, columns, output
from imageprep_client.client.images import Row
from imageprep_client.observer import ImageOutcome

HOSTILE = "Fedora\x1b]0;owned\x07\r\x9b2J\u202e"


class _Shown(base.ShowOne):
    """Shows what an image calls itself."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        return ("distribution", "volumes", "outcome", "boot"), (
            HOSTILE,
            columns.Rows([{"name": HOSTILE}]),
            ImageOutcome.COPIED,
            "",
        )


class _Listed(base.Lister):
    """Lists it."""

    def take_action(self, parsed_args: argparse.Namespace) -> Any:
        return ("Name", "Problems", "Outcome", "Reason"), [
            (
                HOSTILE,
                columns.Sentences([HOSTILE]),
                ImageOutcome.COPIED,
                columns.Hidden(""),
            )
        ]


def _shown(
    kind: type[_Shown] | type[_Listed], format: str, stdout: io.TextIOBase
) -> None:
    """Run a command that prints in this format, or as a table."""
    app = types.SimpleNamespace(
        interactive_mode=False,
        command_options=[],
        stdout=stdout,
        stderr=io.StringIO(),
        options=types.SimpleNamespace(),
    )
    command = kind(cast(shell.OpenStackShell, app), None)
    parser = command.get_parser("show")
    known = next(a for a in parser._actions if a.dest == "formatter").choices
    if format not in (known or ()):
        format = "table"
    command.run(parser.parse_args(["-f", format]))


@pytest.mark.parametrize("kind", [_Shown, _Listed])
@pytest.mark.parametrize(
    "format", ["table", "value", "json", "yaml", "csv", "shell"]
)
def test_control_characters(
    kind: type[_Shown] | type[_Listed], format: str
) -> None:
    """No name of an image or a disk moves the cursor of a terminal.

    An outcome is shown as text.
    """
    stdout = io.StringIO()
    _shown(kind, format, stdout)
    text = stdout.getvalue()
    assert "Fedora" in text
    assert "copied" in text
    assert all(line.isprintable() for line in text.split("\n"))


@pytest.mark.parametrize("format", ["table", "value", "csv", "shell"])
def test_characters_that_the_locale_lacks(
    monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """The name in an image is shown in any locale."""
    monkeypatch.setattr("tests.unit.cli.test_output.HOSTILE", "Fedora \u5357")
    written = io.BytesIO()
    stdout = io.TextIOWrapper(written, encoding="latin-1")
    for kind in (_Shown, _Listed):
        _shown(kind, format, stdout)
    assert b"Fedora \\u5357" in written.getvalue()


@pytest.mark.parametrize("kind", [_Shown, _Listed])
def test_empty_text(kind: type[_Shown] | type[_Listed]) -> None:
    """Programs get null for what is unknown, and tables leave it out."""
    for format in "json", "yaml":
        stdout = io.StringIO()
        _shown(kind, format, stdout)
        assert ": null" in stdout.getvalue()
    stdout = io.StringIO()
    _shown(kind, "table", stdout)
    assert "None" not in stdout.getvalue()
    assert "Reason" not in stdout.getvalue()


def test_source_as_a_destination() -> None:
    """A copy in its own source is shown at the registry, not nowhere."""
    name = "a.example.com/ns/nova:1"
    rows = [
        Row(
            image=name,
            source=name,
            destination=place,
            outcome=ImageOutcome.PRESENT,
        )
        for place in (name, "b.example.com/ns/nova:1")
    ]
    names, data = output.copies(rows)
    column = names.index("Destination")
    assert [cast(columns.Brief, row[column]).brief() for row in data] == [
        "a.example.com",
        "b.example.com",
    ]
