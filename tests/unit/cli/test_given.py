"""Values of the command line, above all empty ones."""

from __future__ import annotations

import argparse

import pytest

from imageprep_client import errors
from imageprep_client.cli import given


def _parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    given.watch(parser)
    parser.add_argument("place", metavar="<place>", nargs="?")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--name", default="")
    group.add_argument("--other", default="")
    parser.add_argument("--append-tag", default="x")
    parser.add_argument(
        "-f", "--file", metavar="<file>", action="append", default=[]
    )
    parser.add_argument("--dry-run", action="store_true")
    return parser.parse_args(words)


def test_values() -> None:
    """Given values are there, and the others are their defaults."""
    found = _parsed("here", "--name", "x", "-f", "1", "--file", "2")
    given.check(found)

    assert (found.place, found.name, found.other) == ("here", "x", "")
    assert found.file == ["1", "2"]
    assert _parsed().file == []


def test_nothing_given() -> None:
    """An option that is left out is not empty."""
    given.check(_parsed("--dry-run"))


def test_empty_as_with_tripleoclient() -> None:
    """An empty value that scripts for the predecessor give is accepted."""
    found = _parsed("--append-tag", "")
    given.check(found)
    assert found.append_tag == ""


def test_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path may begin with the home; other values stay as they are."""
    monkeypatch.setenv("HOME", "/home/me")
    found = _parsed("--file=~/x", "-f", "a~/y", "--name=~/z")
    assert found.file == ["/home/me/x", "a~/y"]
    assert found.name == "~/z"


@pytest.mark.parametrize(
    "metavar", ["<source>", "<destination>", "lxc|machines|<directory>"]
)
def test_home_of_places(monkeypatch: pytest.MonkeyPatch, metavar: str) -> None:
    """An argument that may be a path may begin with the home as well."""
    monkeypatch.setenv("HOME", "/home/me")
    parser = argparse.ArgumentParser()
    given.watch(parser)
    parser.add_argument("--to", metavar=metavar)
    assert parser.parse_args(["--to=~/x.tar.gz"]).to == "/home/me/x.tar.gz"


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ([""], "<place>"),
        (["--name", ""], "--name"),
        (["--name="], "--name"),
        (["-f", ""], "-f"),
        (["--file", "x", "--file="], "--file"),
        (["--other=", ""], "--other"),
    ],
)
def test_empty(words: list[str], name: str) -> None:
    """The error names the first as it was written."""
    with pytest.raises(errors.InvalidArgument, match=f"^{name}: .*empty"):
        given.check(_parsed(*words))
