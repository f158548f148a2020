"""Comparing the packages of an image with those of a host."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.rpm import packages


def listing(*rows: str) -> str:
    """As rpm lists them: name, epoch, version and release."""
    return "\n".join("\t".join(row.split()) for row in rows)


def test_older() -> None:
    """Packages that are newer on the host are named, in order."""
    image = listing("b 0 1.9 1", "a 0 1 1", "same 0 1 1", "newer 0 2 1")
    host = listing("a 0 1 2", "b 0 1.10 1", "same 0 1 1", "newer 0 1 1")
    assert packages.older(image, host) == ["a", "b"]


def test_epoch() -> None:
    """An epoch counts more than a version."""
    assert packages.older(listing("a 0 9 1"), listing("a 1 1 1")) == ["a"]


def test_only_one_has_it() -> None:
    """A package that only one of them has is not compared."""
    assert packages.older(listing("a 0 1 1"), listing("b 0 2 1")) == []


def test_several_versions() -> None:
    """Of several versions of one package the newest counts."""
    image = listing("kernel 0 3 1", "kernel 0 1 1")
    assert packages.older(image, listing("kernel 0 2 1")) == []
    assert packages.older(listing("kernel 0 2 1"), image) == ["kernel"]


def test_keys() -> None:
    """Keys, which rpm lists as packages, are not compared."""
    image = listing("gpg-pubkey 0 1 1")
    assert packages.older(image, listing("gpg-pubkey 0 2 1")) == []


@pytest.mark.parametrize(
    "line",
    [
        "a",
        "a\t(none)\t1\t1",
        "a\t0\t1\t1\t1",
        pytest.param(f"a\t{'9' * 5000}\t1\t1", id="digits"),
    ],
)
def test_other_lines(line: str) -> None:
    """A line that names no package is not guessed at."""
    with pytest.raises(errors.InvalidArgument, match="not a package"):
        packages.older(line, "")
