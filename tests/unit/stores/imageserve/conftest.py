"""Trees to look into."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree
from tests import apache

_NOBODY = 65534


@pytest.fixture
def tree(tmp_path: Path) -> ImageServeTree:
    """A tree that is not there yet."""
    return ImageServeTree(tmp_path / "image-serve")


@pytest.fixture
def store(tree: ImageServeTree) -> ImageServeStore:
    """A repository of it."""
    return tree.store("ns/app")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory of this user's, who is not root while the test runs."""
    with apache.readable_directory() as path:
        root = os.geteuid() == 0
        if root:
            os.chown(path, _NOBODY, _NOBODY)
            os.seteuid(_NOBODY)
        yield path
        for each in (path, *path.rglob("*")):
            if each.is_dir():
                each.chmod(0o755)
        if root:
            os.seteuid(0)


@pytest.fixture
def masked() -> Iterator[None]:
    """A umask that hides files from everybody else."""
    before = os.umask(0o077)
    yield
    os.umask(before)
