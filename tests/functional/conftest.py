"""Fixtures of the functional tests."""

from __future__ import annotations

import pathlib

import pytest

from tests.functional import base


@pytest.fixture
def openstack(tmp_path: pathlib.Path) -> base.OpenStack:
    """The ``openstack`` command; its home is the current directory."""
    home = tmp_path / "home"
    home.mkdir()
    return base.OpenStack(home)
