"""The store in memory keeps what `stores.base` promises."""

from __future__ import annotations

import pytest

from imageprep_client.stores import base, memory
from imageprep_client.testing import store_suite


class TestMemory(store_suite.StoreSuite):
    powers = store_suite.ALL_POWERS - {
        base.BeginsPushes,
        base.Flushes,
        base.MeasuresSpace,
        base.PushesTagged,
    }

    @pytest.fixture
    def make_store(self) -> store_suite.MakeStore:
        return memory.MemoryRegistry().store
