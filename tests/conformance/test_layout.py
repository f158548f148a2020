"""Image layouts keep what `stores.base` promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client.stores import base
from imageprep_client.stores.layout import LayoutRoot
from imageprep_client.testing import store_suite


class TestLayout(store_suite.StoreSuite):
    powers = store_suite.ALL_POWERS - {
        base.BeginsPushes,
        base.ListsManifests,
        base.PushesTagged,
        base.Untags,
    }

    @pytest.fixture
    def make_store(self, tmp_path: Path) -> store_suite.MakeStore:
        return LayoutRoot(tmp_path / "images").store
