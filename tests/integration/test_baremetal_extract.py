"""Extracting from disks that the real programs made, as user nobody."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.baremetal import extracting
from imageprep_client.observer import Observer
from tests import disk_images, programs
from tests.disk_images import SampleDisk
from tests.functional import base

_NOBODY = 65534
LAYOUTS: dict[str, dict[str, Any]] = {
    "ext4": {},
    "xfs-lvm": {"root": "xfs", "lvm": True},
    "atomic": {"root": "xfs", "lvm": True, "ostree": True},
    "4096": {"root": "xfs", "sector_size": 4096},
}


@pytest.fixture(scope="module")
def directory() -> Iterator[Path]:
    """A directory that everybody may enter."""
    with tempfile.TemporaryDirectory(
        prefix="imageprep-", dir="/var/tmp"
    ) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture(scope="module")
def disks(directory: Path) -> Callable[[str], SampleDisk]:
    """Makes the disk of a layout, once."""

    @functools.cache
    def make(layout: str) -> SampleDisk:
        home = directory / f"disk-{layout}"
        return disk_images.make(home, **LAYOUTS[layout])

    return make


class Nobody:
    """Runs ``openstack`` as a user whose only right is to read.

    :ivar home: a directory of the user's.
    """

    def __init__(self, home: Path) -> None:
        self.home = home

    def __call__(
        self, *words: str, status: int = 0
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [
                *("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}"),
                "--clear-groups",
                # Python itself may be where only root may look.
                *("--inh-caps=-all,+dac_read_search",),
                *("--ambient-caps=-all,+dac_read_search",),
                Path(sys.executable).with_name("openstack"),
                *("image-prepare", "baremetal", *words),
            ],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.home),
                "TMPDIR": str(self.home),
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done


@pytest.fixture
def nobody(directory: Path) -> Iterator[Nobody]:
    """The user, with an empty home."""
    home = Path(tempfile.mkdtemp(dir=directory))
    os.chown(home, _NOBODY, _NOBODY)
    yield Nobody(home)
    shutil.rmtree(home)


class Baremetal(base.OpenStack):
    """Runs ``openstack image-prepare baremetal``."""

    def __call__(
        self,
        *words: str,
        status: int | Collection[int] = 0,
        stderr: str = ".*",
    ) -> base.Result:
        command = ("image-prepare", "baremetal", *words)
        return super().__call__(*command, status=status, stderr=stderr)


@dataclasses.dataclass
class Extracted:
    """A disk of which all was extracted, and what it was before.

    :ivar told: the command line that was printed.
    """

    disk: SampleDisk
    image: Path
    output: Path
    told: str
    digest: bytes
    time: int


@pytest.fixture(scope="module")
def extracted(
    disks: Callable[[str], SampleDisk],
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], Extracted]:
    """Extracts the disk of a layout, once."""

    @functools.cache
    def extract(layout: str) -> Extracted:
        disk = disks(layout)
        image = disk.qcow2()
        digest = hashlib.sha256(image.read_bytes()).digest()
        time = image.stat().st_mtime_ns
        openstack = Baremetal(tmp_path_factory.mktemp("extracted"))
        done = openstack(
            *("extract", str(image), "--output-dir", "out"),
            *("--append", "ipa-debug=1", "-f", "value", "-c", "command_line"),
        )
        output = openstack.home / "out"
        return Extracted(disk, image, output, done.stdout, digest, time)

    return extract


@pytest.fixture
def openstack(tmp_path: Path) -> Baremetal:
    """The command, with an empty home."""
    return Baremetal(tmp_path / "home")


def _check(disk: SampleDisk, output: Path) -> None:
    """The written files are those of the disk."""
    assert (output / "vmlinuz").read_bytes() == disk.kernel
    assert (output / "initramfs").read_bytes() == disk.ramdisk
    assert (output / "root.raw").read_bytes() == disk.root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(
    layout: str, disks: Callable[[str], SampleDisk], nobody: Nobody
) -> None:
    """Kernel, ramdisk and root are byte-identical, for a user with no
    rights.
    """
    disk = disks(layout)
    nobody("extract", str(disk.qcow2()), "--output-dir", "out")
    _check(disk, nobody.home / "out")


def test_umask_of_zero(
    disks: Callable[[str], SampleDisk],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """Others never get to write to what machines boot from."""
    request.addfinalizer(functools.partial(os.umask, os.umask(0)))
    output = tmp_path / "out"
    extracting.extract(
        extracting.ExtractRequest(
            image=str(disks("ext4").qcow2()),
            output_directory=str(output),
            only=["kernel"],
        ),
        Observer(),
    )
    written = [output, *output.iterdir()]
    assert len(written) == 4
    assert not [path for path in written if path.stat().st_mode & 0o022]


@pytest.mark.parametrize("options", [(), ("-c",)], ids=["raw", "compressed"])
def test_formats(
    options: tuple[str, ...],
    disks: Callable[[str], SampleDisk],
    openstack: Baremetal,
) -> None:
    """Raw and compressed images give the same."""
    disk = disks("ext4")
    image = disk.qcow2(*options) if options else disk.raw
    done = openstack("extract", str(image), "--output-dir", "my out")
    assert (
        "next: openstack image-prepare baremetal register NAME"
        " --kernel 'my out/vmlinuz' --ramdisk 'my out/initramfs'\n"
    ) in done.stderr
    _check(disk, openstack.home / "my out")


def test_little_is_written(extracted: Callable[[str], Extracted]) -> None:
    """Not more than the volumes is ever on the disk, and nothing is left."""
    output = extracted("ext4").output
    used = sum(f.stat().st_blocks for f in output.iterdir()) * 512
    assert used < 8 * disk_images.MIB + 3 * disk_images.MIB * 8
    assert sorted(f.name for f in output.iterdir()) == [
        "SHA256SUMS",
        "initramfs",
        "manifest.json",
        "root.raw",
        "vmlinuz",
    ]


def test_source_is_untouched(extracted: Callable[[str], Extracted]) -> None:
    """The image has the same bytes and times afterwards."""
    found = extracted("atomic")
    assert hashlib.sha256(found.image.read_bytes()).digest() == found.digest
    assert found.image.stat().st_mtime_ns == found.time


def test_command_line(extracted: Callable[[str], Extracted]) -> None:
    """It names the root by its UUID and the deployment, and masks what does
    not come along.
    """
    found = extracted("atomic")
    assert found.told.split() == [
        "no_timer_check",
        f"root=UUID={found.disk.uuid}",
        f"ostree={disk_images.OSTREE}",
        "console=ttyS0",
        "net.ifnames=0",
        "systemd.mask=boot-efi.mount",
        "systemd.mask=boot.mount",
        "ipa-debug=1",
    ]
    manifest = json.loads((found.output / "manifest.json").read_text())
    assert manifest["command_line"] == found.told.strip()
    assert manifest["dropped_options"] == [
        f"rd.lvm.lv={disk_images.GROUP}/root"
    ]


def test_checksums(extracted: Callable[[str], Extracted]) -> None:
    """The list has bare names, and ``sha256sum -c`` takes it."""
    told = programs.run(
        "sha256sum", "-c", "SHA256SUMS", cwd=extracted("ext4").output
    )
    assert told == "vmlinuz: OK\ninitramfs: OK\nroot.raw: OK\n"


def test_only_one_part(
    disks: Callable[[str], SampleDisk], openstack: Baremetal
) -> None:
    """Other parts are not written."""
    openstack(
        *("extract", str(disks("ext4").qcow2()), "--output-dir", "out"),
        *("--only", "kernel", "--kernel", disk_images.OLDER),
    )
    output = openstack.home / "out"
    assert (output / "vmlinuz").read_bytes() == b"older"
    assert not (output / "root.raw").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--kernel", "7"), "has no kernel 7"),
        (("--root-lv", "atomicos/none"), "no logical volume atomicos/none"),
        (("--root-lv", "atomicos/swap"), "no file system that can be read"),
        (("--append", '"quoted" word'), "no option that Ironic takes"),
        (("--max-size", "1", "--append", "a\nb"), ""),
    ],
)
def test_wrong_choices(
    options: tuple[str, ...],
    told: str,
    disks: Callable[[str], SampleDisk],
    openstack: Baremetal,
) -> None:
    """The error names the missing part and the present ones."""
    image = disks("xfs-lvm").qcow2()
    status = 2 if told else 0
    words = ("extract", str(image), "--output-dir", "out", *options)
    assert told in openstack(*words, status=status).stderr
    if told:
        assert not list((openstack.home / "out").glob("*"))


def test_inspection(
    disks: Callable[[str], SampleDisk], openstack: Baremetal
) -> None:
    """Everything about the image, as JSON."""
    disk = disks("atomic")
    done = openstack("inspect", str(disk.qcow2()), "-f", "json")
    shown = json.loads(done.stdout)
    assert (shown["format"], shown["partition_table"]) == ("qcow2", "gpt")
    assert shown["root"] == f"{disk_images.GROUP}/root"
    assert shown["boot"] == "partition 2"
    assert shown["distribution"] == "Test Linux 9 (Nine)"
    assert shown["kernels"] == [disk_images.VERSION]
    assert shown["ostree_deployment"] == disk_images.DEPLOYMENT
    assert shown["firmware"] == ["uefi"]
    assert shown["architecture"] == "x86_64"
    assert shown["host_only_ramdisk"] == "no"
    assert shown["extractable"] is True
    kinds = {v["name"]: v["content"] for v in shown["volumes"]}
    assert kinds["partition 3"] == "lvm"
    assert kinds[f"{disk_images.GROUP}/root"] == "xfs"


def test_left_by_a_kill(
    disks: Callable[[str], SampleDisk], openstack: Baremetal
) -> None:
    """The next run removes the rest of a killed one."""
    left = openstack.home / "out/.imageprep-extract-old"
    left.mkdir(parents=True)
    (left / "volume-0.raw").write_bytes(b"half")
    image = disks("ext4").qcow2()
    openstack("extract", str(image), "--output-dir", "out", "--only", "kernel")
    assert not left.exists()


@pytest.mark.needs_root
@pytest.mark.parametrize(
    ("option", "lacking"),
    [
        *((f"size={size}m", "no space left on device") for size in (2, 6, 8)),
        ("nr_inodes=4", "no inodes are left for new files on small/out"),
    ],
)
@pytest.mark.parametrize("layout", ["ext4", "xfs-lvm"])
def test_full_disk(
    layout: str,
    option: str,
    lacking: str,
    disks: Callable[[str], SampleDisk],
    openstack: Baremetal,
) -> None:
    """The message names the directory, which is not left behind."""
    image = disks(layout).qcow2()
    small = openstack.home / "small"
    small.mkdir()
    words = ("mount", "-t", "tmpfs", "-o", option, "tmpfs")
    subprocess.run([*words, small], check=True)
    try:
        done = openstack(
            *("extract", str(image), "--output-dir", "small/out"), status=2
        )
        assert not list(small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)
    told = (
        rf"small/out: {lacking}: [0-9]+ bytes free\n"
        r"hint: make room there, or choose another destination\n"
    )
    assert re.fullmatch(told, done.stderr)


def test_directory_that_is_swapped(
    disks: Callable[[str], SampleDisk],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The owner of the output directory leads nothing elsewhere."""
    output, victim = tmp_path / "out", tmp_path / "victim"
    victim.mkdir()
    for name in ("vmlinuz", "SHA256SUMS", "manifest.json"):
        (victim / name).write_text("host")
        (victim / name).chmod(0o600)
    publish = extracting._publish

    def swap(*arguments: Any) -> None:
        (staging,) = output.glob(".imageprep-extract-*")
        staging.rename(output / "gone")
        staging.symlink_to(victim)
        publish(*arguments)

    monkeypatch.setattr(extracting, "_publish", swap)
    extracting.extract(
        extracting.ExtractRequest(
            image=str(disks("ext4").qcow2()),
            output_directory=str(output),
            only=["kernel"],
        ),
        Observer(),
    )
    assert {
        (path.name, path.read_text(), path.stat().st_mode & 0o777)
        for path in victim.iterdir()
    } == {
        ("vmlinuz", "host", 0o600),
        ("SHA256SUMS", "host", 0o600),
        ("manifest.json", "host", 0o600),
    }
    assert (output / "vmlinuz").stat().st_size > len("host")


def test_left_by_a_stranger(
    disks: Callable[[str], SampleDisk], openstack: Baremetal
) -> None:
    """Only directories of this user are taken for those of killed runs."""
    left = openstack.home / "out/.imageprep-extract-old"
    left.mkdir(parents=True)
    os.chown(left, _NOBODY, _NOBODY)
    openstack(
        *("extract", str(disks("ext4").qcow2())),
        *("--output-dir", "out", "--only", "kernel"),
    )
    assert left.exists()
