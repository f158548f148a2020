"""Fixtures of the tests of upkeep."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client.host import disk
from imageprep_client.stores.imageserve import ImageServeTree


@pytest.fixture(autouse=True)
def unsynchronised(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here survives the test, so no disk is waited for."""
    monkeypatch.setattr(disk.FileSystem, "synchronise", lambda self: None)


@pytest.fixture
def tree(tmp_path: Path) -> ImageServeTree:
    """A tree that is not there yet."""
    return ImageServeTree(tmp_path / "tree")
