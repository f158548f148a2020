"""The page about hostile registries names tests that exist."""

from __future__ import annotations

import pathlib
import re

TOP = pathlib.Path(__file__).parents[2]
PAGE = TOP / "doc/source/contributor/hostile.rst"
_NAMES = re.compile(r"``((?:tests|imageprep_client/testing)/\S+?)::(\w+)``")
NAMED = sorted(set(_NAMES.findall(PAGE.read_text())))


def test_named_tests_exist() -> None:
    """A test that is renamed is renamed on the page, too."""
    absent = [
        f"{path}::{name}"
        for path, name in NAMED
        if not re.search(rf"(?m)^ *def {name}\(", (TOP / path).read_text())
    ]
    assert not absent


def test_tests_are_named() -> None:
    """The page is read as it is meant."""
    assert len(NAMED) > 30
