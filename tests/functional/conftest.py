"""Fixtures of the functional tests."""

from __future__ import annotations

import json
import pathlib
import subprocess
import types
from collections.abc import Iterator
from typing import Any

import pytest

from imageprep_client import retry
from imageprep_client.catalog import rendering, template
from tests.functional import base, deployment


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between attempts are short, and tables need no process.

    tests/unit/test_retry.py and tests/unit/catalog have both as they are, and
    so has each command that runs as a process.
    """
    pauses = types.SimpleNamespace(uniform=lambda low, high: low / 50)
    monkeypatch.setattr(retry, "random", pauses)
    programs = types.SimpleNamespace(
        run=_render, TimeoutExpired=subprocess.TimeoutExpired
    )
    monkeypatch.setattr(template, "subprocess", programs)


def _render(
    words: list[str], *, input: bytes, **options: Any
) -> subprocess.CompletedProcess[bytes]:
    """The answer of the renderer of templates."""
    answer = rendering.render(**json.loads(input))
    return subprocess.CompletedProcess(words, 0, json.dumps(answer).encode())


@pytest.fixture
def openstack(tmp_path: pathlib.Path) -> base.OpenStack:
    """The ``openstack`` command; its home is the current directory."""
    return base.OpenStack(tmp_path / "home")


@pytest.fixture
def site(openstack: base.OpenStack) -> Iterator[deployment.Deployment]:
    """A registry with three images, and an environment that wants them."""
    with deployment.deployed(openstack) as found:
        yield found
