"""The image-serve tree keeps what `stores.base` promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import store_suite


class TestImageServe(store_suite.StoreSuite):
    powers = store_suite.ALL_POWERS - {base.BeginsPushes, base.PushesTagged}

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> store_suite.MakeStore:
        return ImageServeTree(tmp_path / "image-serve").store
