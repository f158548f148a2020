"""The order in which services are restored."""

from __future__ import annotations

from imageprep_client.service.journal import SwapRecord
from imageprep_client.service.reverting import in_waves


def test_waves() -> None:
    """Services that do not depend on each other are in one wave."""
    records = [
        SwapRecord(service="libvirt"),
        SwapRecord(service="agent"),
        SwapRecord(service="compute", depends_on=("libvirt", "rabbit")),
        SwapRecord(service="exporter", depends_on=("compute", "libvirt")),
    ]
    found = [[one.service for one in wave] for wave in in_waves(records)]
    assert found == [["libvirt", "agent"], ["compute"], ["exporter"]]


def test_damaged_order() -> None:
    """A circle, which only a damaged journal has, is one wave."""
    records = [
        SwapRecord(service="one", depends_on=("two",)),
        SwapRecord(service="two", depends_on=("one",)),
    ]
    assert in_waves(records) == [records]
