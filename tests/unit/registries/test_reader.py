"""A user who may only read."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from tests import apache
from tests.unit.registries import sites

_NOBODY = 65534


@pytest.fixture
def theirs() -> Iterator[ImageServeTree]:
    """Somebody else's tree, which everybody may read."""
    with apache.readable_directory() as directory:
        tree = ImageServeTree(directory)
        with tree.lock(lambda what: None):
            sites.add(tree.store("ns/a"), content.image("x"), "1")
        home = directory / "v2"
        if os.geteuid() != 0:
            home.chmod(0o555)
            yield ImageServeTree(directory)
            home.chmod(0o755)
            return
        os.seteuid(_NOBODY)
        try:
            yield ImageServeTree(directory)
        finally:
            os.seteuid(0)


def test_verify(theirs: ImageServeTree) -> None:
    """Reading is enough to verify."""
    assert sites.found(theirs) == set()


def test_rehearsal(theirs: ImageServeTree) -> None:
    """Reading is enough to find out what would go."""
    result = sites.prune(theirs, Path(), keep_last=1, dry_run=True)
    assert (result.rows, result.kept) == ([], 1)


def test_prune(theirs: ImageServeTree) -> None:
    """Deleting wants the right to write; the hint says how to get it."""
    with pytest.raises(errors.AccessDenied) as caught:
        sites.prune(theirs, Path(), keep_last=1)
    assert "sudo" in str(caught.value.hint)
