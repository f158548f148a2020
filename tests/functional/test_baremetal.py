"""The ``baremetal`` commands: help, and what is no image."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.conftest import Golden
from tests.functional import base

BAREMETAL = ("image-prepare", "baremetal")


@pytest.mark.parametrize(
    "command",
    ["inspect", "extract", "register", "push", "list", "show", "delete"],
)
def test_help(openstack: base.OpenStack, golden: Golden, command: str) -> None:
    """The help of each command is as it was looked at."""
    golden.check(
        f"baremetal-{command}-help.txt",
        openstack.help(*BAREMETAL, command),
        normal=base.normal_help,
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "cannot be read: no such file or directory"),
        (".", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("empty", "is empty"),
        ("text", "has no root file system that can be read"),
    ],
)
def test_no_image(openstack: base.OpenStack, name: str, told: str) -> None:
    """What is no image of a disk is said so; nothing hangs or is written."""
    (openstack.home / "empty").touch()
    (openstack.home / "text").write_text("text " * 1000)
    os.mkfifo(openstack.home / "pipe")
    openstack(
        *(*BAREMETAL, "extract", name, "--output-dir", "out"),
        status=2,
        stderr=f"{name}: {told}(\nhint: .*)?",
    )
    assert not list(Path(openstack.home, "out").glob("*"))
