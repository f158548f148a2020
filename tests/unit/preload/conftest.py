"""The programs of nodes, as modules."""

from __future__ import annotations

import importlib
import types
from pathlib import Path

import pytest

import imageprep_client.preload

_NODE = Path(imageprep_client.preload.__file__).parent / "node"


@pytest.fixture
def pacing(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that paces."""
    monkeypatch.syspath_prepend(_NODE)
    return importlib.import_module("pacing")


@pytest.fixture
def pull(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The program that pulls."""
    monkeypatch.syspath_prepend(_NODE)
    return importlib.import_module("pull")
