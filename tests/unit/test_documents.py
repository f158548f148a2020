"""Statements of the documents about the code."""

from __future__ import annotations

import importlib.util
import pathlib
import re

import pytest

TOP = pathlib.Path(__file__).parents[2]
GUIDE = TOP / "doc/source/contributor"
WHERE = (GUIDE / "where.rst").read_text()
ROWS = re.findall(r"^   \* - (.*)\n     - ``(.*)``$", WHERE, re.MULTILINE)


def exists(name: str) -> bool:
    """Whether this is a module, or a path of the project."""
    if "/" in name:
        return (TOP / name).exists()
    return importlib.util.find_spec(name) is not None


def test_guide_has_twelve_changes() -> None:
    """The page for those who do not know the code fits on a screen."""
    assert len(ROWS) == 12
    assert len(WHERE.splitlines()) < 50


@pytest.mark.parametrize(
    "name", re.findall(r"``(imageprep_client[./].*?|tests/.*?)``", WHERE)
)
def test_guide_names_what_exists(name: str) -> None:
    """A module that is renamed is renamed in the guide."""
    assert exists(name)


@pytest.mark.parametrize("page", ["design", "stores", "testing"])
def test_pages_name_modules_that_exist(page: str) -> None:
    """A page calls a module by its name without ``imageprep_client.``."""
    text = (GUIDE / f"{page}.rst").read_text()
    parts = "|".join(
        path.name
        for path in (TOP / "imageprep_client").iterdir()
        if (path / "__init__.py").exists()
    )
    names = re.findall(rf"``((?:{parts})\.[a-z_.]+)``", text)
    assert [
        name for name in names if not exists(f"imageprep_client.{name}")
    ] == []
