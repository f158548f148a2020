"""The help of every command."""

from __future__ import annotations

import importlib.metadata

import pytest

from tests.conftest import Golden
from tests.functional import base

COMMANDS = sorted(
    entry.name.replace("_", " ").split()[1:]
    for entry in importlib.metadata.entry_points(
        group="openstack.image_prepare.v1"
    )
    if entry.name.startswith("image-prepare_")
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(
    openstack: base.OpenStack, golden: Golden, words: list[str]
) -> None:
    """The help names every option, and is as it was looked at."""
    golden.check(
        f"{'-'.join(words)}-help.txt",
        openstack.help("image-prepare", *words),
        normal=base.normal_help,
    )
