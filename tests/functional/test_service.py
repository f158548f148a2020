"""The ``service`` commands: help, and declarations that are wrong."""

from __future__ import annotations

import pytest

from tests.conftest import Golden
from tests.functional import base

SERVICE = ("image-prepare", "service")


@pytest.mark.parametrize(
    "command",
    [
        "adopt",
        "history",
        "list",
        "recover",
        "render",
        "rollback",
        "show",
        "start",
        "stop",
        "upgrade",
    ],
)
def test_help(openstack: base.OpenStack, golden: Golden, command: str) -> None:
    """The help of each command is as it was looked at."""
    golden.check(
        f"service-{command}-help.txt",
        openstack.help(*SERVICE, command),
        normal=base.normal_help,
    )
