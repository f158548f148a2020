"""The ``openstack`` command of a cloud, and what its Glance has."""

from __future__ import annotations

import json
import secrets
from pathlib import Path
from typing import Any

import requests

from tests import disk_bytes, kernels, openstack_services, programs
from tests.functional import base

MIB = 1024**2
REGISTER = ("image-prepare", "baremetal", "register")
ROW = ("-f", "json")
#: A kernel and its ramdisk.
PAIR = ("--kernel", "vmlinuz", "--ramdisk", "initramfs")


class Cloud(base.OpenStack):
    """The ``openstack`` command of the administrator, and what Glance has.

    :ivar name: of an image that no other test uses.
    """

    def __init__(
        self, home: Path, services: openstack_services.Services
    ) -> None:
        super().__init__(home)
        self.environment |= services.environment()
        self.services = services
        self.name = f"image-{secrets.token_hex(4)}"

    def register(self, *words: str) -> list[dict[str, Any]]:
        """Register under the name; the rows that are shown."""
        done = self(*REGISTER, self.name, *words, *ROW, stderr=".*")
        rows: list[dict[str, Any]] = json.loads(done.stdout or "[]")
        return rows

    def images(self) -> list[dict[str, Any]]:
        """All images of the name that Glance has, in any state."""
        answer = requests.get(
            f"{self.services.image}/v2/images",
            params={"image_prepare_name": self.name, "limit": "100"},
            headers={"X-Auth-Token": self.services.token},
            timeout=20,
        )
        images: list[dict[str, Any]] = answer.json()["images"]
        return images

    def content(self, identity: str) -> bytes:
        """The data of an image."""
        return requests.get(
            f"{self.services.image}/v2/images/{identity}/file",
            headers={"X-Auth-Token": self.services.token},
            timeout=20,
        ).content


def make(home: Path, services: openstack_services.Services) -> Cloud:
    """The command, with the files of a deployment in the home."""
    home.mkdir()
    (home / "vmlinuz").write_bytes(kernels.bzimage(size=MIB))
    (home / "initramfs").write_bytes(kernels.ramdisk(MIB))
    disk = disk_bytes.gpt(8 * MIB, [(2048, 4095)])
    (home / "disk.raw").write_bytes(disk)
    convert = ("qemu-img", "convert", "-f", "raw", "-O", "qcow2")
    for words in (
        ("mkfs.ext4", "-q", "root.raw", "8M"),
        (*convert, "disk.raw", "disk.qcow2"),
    ):
        programs.run(*words, cwd=home)
    return Cloud(home, services)
