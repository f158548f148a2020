"""The ``baremetal`` commands: help, and what is no image."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests import disk_bytes, servers
from tests.functional import base

BAREMETAL = ("image-prepare", "baremetal")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("absent", "cannot be read: no such file or directory"),
        (".", "is not a regular file"),
        ("pipe", "is not a regular file"),
        ("empty", "is empty"),
        ("text", "has no root file system that can be read"),
        ("short", "has a qcow2 header that is cut short"),
    ],
)
def test_no_image(openstack: base.OpenStack, name: str, told: str) -> None:
    """A file that is no disk image is refused; nothing hangs."""
    (openstack.home / "empty").touch()
    (openstack.home / "text").write_text("text " * 1000)
    (openstack.home / "short").write_bytes(b"QFI\xfb\0\0\0\3")
    os.mkfifo(openstack.home / "pipe")
    openstack(
        *(*BAREMETAL, "extract", name, "--output-dir", "out"),
        status=2,
        stderr=f"{name}: {told}(\nhint: .*)?",
    )
    assert not list(Path(openstack.home, "out").glob("*"))


def test_metal3_of_what_was_pushed(
    openstack: base.OpenStack, tmp_path: Path
) -> None:
    """A Metal3 host gets the digest of the disk for its processor."""
    disk = disk_bytes.gpt(8 * 1024**2, [(2048, 4095)])
    (openstack.home / "disk.raw").write_bytes(disk)
    with servers.docker_registry(tmp_path / "registry") as server:
        location = f"{server.host}/os/base:v1"
        image = ("--image", "disk.raw,architecture=aarch64")
        pushed = openstack(
            *(*BAREMETAL, "push", location, *image, "-f", "json"), stderr=".*"
        )
        words = (*BAREMETAL, "show", location, "--metal3", "-f", "json")
        shown = openstack(*words, "--architecture", "aarch64")
        openstack(*words, status=2, stderr=".*no disk for amd64.*arm64.*")
    (row,) = json.loads(pushed.stdout)
    assert json.loads(shown.stdout) == {
        "url": f"oci://{server.host}/os/base@{row['Digest']}",
        "format": "raw",
    }


def test_metal3_of_a_tree(openstack: base.OpenStack) -> None:
    """Nodes cannot read a directory of this host."""
    openstack(
        *(*BAREMETAL, "show", "image-serve:tree//os/base:v1", "--metal3"),
        status=2,
        stderr=".*name the registry that serves it.*",
    )
