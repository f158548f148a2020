"""Ironic takes what is made for it; its own functions say so.

Ironic is in a virtual environment of its own, which ``tools/check torture``
makes; IMAGEPREP_IRONIC names it.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.serving import apache as printed
from tests import (
    apache,
    disk_bytes,
    disk_images,
    glance_cloud,
    kernels,
    openstack_services,
    programs,
    servers,
)
from tests.disk_images import SampleDisk
from tests.functional import base

_PROGRAM = Path(__file__).with_name("ironic_program.py")
_TOP = Path(__file__).parents[2]
BAREMETAL = ("image-prepare", "baremetal")


def ironic(*words: str) -> Any:
    """The answer of Ironic."""
    home = os.environ.get("IMAGEPREP_IRONIC") or _TOP / ".venv-ironic"
    answer = programs.run(Path(home, "bin/python"), _PROGRAM, *words)
    return json.loads(answer)


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> SampleDisk:
    """The document's disk: the root is XFS on LVM, deployed by OSTree."""
    directory = tmp_path_factory.mktemp("disks") / "disk"
    return disk_images.make(directory, root="xfs", lvm=True, ostree=True)


@pytest.fixture
def openstack(tmp_path: Path) -> base.OpenStack:
    """The command, with an empty home."""
    return base.OpenStack(tmp_path / "home")


@contextlib.contextmanager
def registry(directory: Path) -> Iterator[tuple[str, str]]:
    """docker-registry: where to push, and its host."""
    with servers.docker_registry(directory / "registry") as server:
        yield f"{server.host}/bm/os:v1", server.host


@contextlib.contextmanager
def tree(directory: Path) -> Iterator[tuple[str, str]]:
    """A tree under Apache: where to push, and its host."""
    with apache.readable_directory() as home:
        path = home / "tree"
        path.mkdir()
        with apache.running(printed.virtual_host, path, hostile=False) as url:
            host = url.removeprefix("http://")
            yield f"image-serve:{path}//bm/os:v1", host


@pytest.mark.parametrize("place", [registry, tree])
def test_picks(place: Any, tmp_path: Path, openstack: base.OpenStack) -> None:
    """Of raw and qcow2 for two processors the right one, in four of four
    cases.
    """
    files: dict[tuple[str, str], Path] = {}
    for number, processor in enumerate(("x86_64", "aarch64"), 1):
        raw = tmp_path / f"{processor}.raw"
        guid = {"guid": number}
        size = 8 * disk_images.MIB
        raw.write_bytes(
            disk_bytes.gpt(size, [(2048, 4095)], primary=guid, backup=guid)
        )
        other = tmp_path / f"{processor}.qcow2"
        subprocess.run(
            ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, other],
            check=True,
        )
        files |= {(processor, "raw"): raw, (processor, "qcow2"): other}
    kernel = tmp_path / "vmlinuz"
    kernel.write_bytes(kernels.bzimage())
    with place(tmp_path) as (location, host):
        for processor in ("x86_64", "aarch64"):
            images = [
                word
                for (of, _), path in files.items()
                if of == processor
                for word in ("--image", f"{path},architecture={processor}")
            ]
            openstack(
                *(*BAREMETAL, "push", location, *images),
                *("--kernel", str(kernel)),
                *("--insecure-registry", host),
                stderr=".*",
            )
        rows = ironic("pick", f"oci://{host}/bm/os:v1")
    digests = {
        key: hashlib.sha256(path.read_bytes()).hexdigest()
        for key, path in files.items()
    }
    assert [tuple(row) for row in rows] == [
        (source, processor, kind, digests[processor, kind])
        for source, kind in (("http", "raw"), ("local", "qcow2"))
        for processor in ("x86_64", "aarch64")
    ]


def test_forms(disk: SampleDisk, openstack: base.OpenStack) -> None:
    """Every form that is registered is accepted as what it is declared."""
    openstack(
        *(*BAREMETAL, "extract", str(disk.qcow2()), "--output-dir", "out"),
        stderr=".*",
    )
    output = openstack.home / "out"
    for path, declared, found in (
        (disk.raw, "raw", "gpt"),
        (disk.qcow2(), "qcow2", "qcow2"),
        (disk.qcow2("-c"), "qcow2", "qcow2"),
        (output / "root.raw", "raw", "raw"),
    ):
        assert ironic("accept", str(path), declared) == found
    # The seed's form of a root is history.
    assert "InvalidImage" in ironic("accept", str(output / "root.raw"), "ami")
    for name in ("vmlinuz", "initramfs"):
        copy = openstack.home / name
        assert ironic("boot", str(output / name), str(copy)) is None
        assert copy.read_bytes() == (output / name).read_bytes()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--whole-disk", "disk.raw"), True),
        (("--whole-disk", "disk.qcow2"), True),
        (("--partition", "root.raw", *glance_cloud.PAIR), False),
    ],
    ids=["raw", "qcow2", "partition"],
)
def test_kind(
    tmp_path: Path,
    services: openstack_services.Services,
    words: tuple[str, ...],
    expected: bool,
) -> None:
    """An image that is registered is of the kind that it is registered as."""
    cloud = glance_cloud.make(tmp_path / "cloud", services)
    cloud.register(*words)
    (image,) = (
        image
        for image in cloud.images()
        if image["image_prepare_role"] in ("disk", "root")
    )
    assert ironic("whole", json.dumps(image)) is expected


def test_command_line(disk: SampleDisk, openstack: base.OpenStack) -> None:
    """The command line of an extraction is one that Ironic parses."""
    done = openstack(
        *(*BAREMETAL, "extract", str(disk.qcow2()), "--output-dir", "out"),
        *("--only", "kernel", "-f", "value", "-c", "command_line"),
        stderr=".*",
    )
    line = done.stdout.strip()
    assert f"ostree={disk_images.OSTREE}" in line
    assert sorted(ironic("parse", line).split()) == sorted(line.split())
