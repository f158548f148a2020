"""The search of all packages for the end of a help."""

from __future__ import annotations

import pytest
from cliff import command

from tests.functional import base


def _refuse() -> dict[str, str]:
    raise AssertionError("all installed packages were looked through")


def test_no_search(
    openstack: base.OpenStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command runs without a look at all packages that there are."""
    monkeypatch.setattr(command, "_get_distributions_by_modules", _refuse)
    assert openstack("image-prepare", "default").stdout
