"""Roots packed in several threads."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imageprep_client.machine.archives import packing


class Defect(Exception):
    """A defect of whoever is told the progress."""


def fail(count: int) -> None:
    raise Defect


def test_failure_of_the_last_step_ends_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The steps before it do not wait for it without end."""
    monkeypatch.setattr(packing, "CHUNK", 1 << 12)
    content = tmp_path / "content"
    content.write_bytes(os.urandom(1 << 20))
    with (
        content.open("rb", buffering=0) as stream,
        (tmp_path / "packed").open("wb", buffering=0) as file,
        pytest.raises(Defect),
    ):
        packing._Writer(file, "gz", fail).run(stream)
