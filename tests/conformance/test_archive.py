"""Archives in the making keep what `stores.base` promises."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.stores import base
from imageprep_client.stores.archive import NewArchive
from imageprep_client.testing import store_suite


class TestNewArchive(store_suite.StoreSuite):
    powers = store_suite.ALL_POWERS - {
        base.BeginsPushes,
        base.Deletes,
        base.ListsManifests,
        base.PushesTagged,
        base.Untags,
    }

    @pytest.fixture(params=[0, 10_000], ids=["whole", "parts"])
    def make_store(
        self, tmp_path: Path, request: pytest.FixtureRequest
    ) -> Iterator[store_suite.MakeStore]:
        archive = NewArchive(tmp_path / "images.tar", part_size=request.param)
        yield archive.store
        archive.close()
