"""A tree on a file system without room for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from tests.mounts import small_disk

BLOB = content.blob("x", 10)


@pytest.mark.needs_root
@pytest.mark.parametrize("inodes", range(2, 7))
def test_nothing_is_served(
    tmp_path: Path, inodes: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Where files run out before there is content, nothing is published."""
    disk = tmp_path / "disk"
    with small_disk(disk, f"nr_inodes={inodes}", caplog):
        tree = ImageServeTree(disk)
        with pytest.raises(errors.NoSpace, match="no inodes are left"):
            tree.store("ns/app").push(BLOB.descriptor, BLOB.open())
        tree.close()
        assert not (disk / "v2").exists()
