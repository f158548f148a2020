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
def podman(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that runs podman."""
    monkeypatch.syspath_prepend(_NODE)
    return importlib.import_module("podman")


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that watches a registry."""
    monkeypatch.syspath_prepend(_NODE)
    return importlib.import_module("watch")
