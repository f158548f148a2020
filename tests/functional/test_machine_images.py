"""The commands of machine images: help."""

from __future__ import annotations

import pytest

from tests.conftest import Golden
from tests.functional import base


@pytest.mark.parametrize(
    "command",
    [
        "archive",
        "cache",
        "export",
        "import",
        "list",
        "preload",
        "publish",
        "show",
    ],
)
def test_help(openstack: base.OpenStack, golden: Golden, command: str) -> None:
    """The help of each command is as it was looked at."""
    golden.check(
        f"machine-{command}-help.txt",
        openstack.help("image-prepare", "machine", command),
        normal=base.normal_help,
    )
