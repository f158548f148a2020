"""Kernels and ramdisks as files."""

from __future__ import annotations

import bz2
import gzip
import lzma
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.baremetal import ramdisk
from tests import kernels

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


@pytest.mark.parametrize(
    "compress",
    [bytes, gzip.compress, lzma.compress, bz2.compress, zstd.compress],
)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("usr/lib/dracut/hostonly-files", "yes"),
        ("lib/dracut/hostonly-kernel-modules.txt", "yes"),
        ("usr/lib/dracut/modules.txt", "no"),
        ("conf/initramfs.conf", "unknown"),
    ],
)
def test_host_only(
    compress: Callable[[bytes], bytes], name: str, told: str, tmp_path: Path
) -> None:
    """It is seen behind microcode, however the ramdisk is compressed."""
    path = tmp_path / "initramfs"
    early = kernels.archive("kernel/x86/microcode/x.bin", size=600)
    early += bytes(-len(early) % 512)
    path.write_bytes(early + compress(kernels.archive("init", name, size=99)))
    assert ramdisk.host_only(path) == told


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"noise" * 100,
        kernels.archive("init", size=5000)[:3000],
        gzip.compress(kernels.archive("init", size=5000))[:300],
        b"070701" + b"f" * 104,
    ],
)
def test_damaged_ramdisks(content: bytes, tmp_path: Path) -> None:
    """Of what is damaged nothing is known; it is no failure."""
    path = tmp_path / "initramfs"
    path.write_bytes(content)
    assert ramdisk.host_only(path) == "unknown"


@pytest.mark.parametrize(
    ("head", "told"),
    [
        (kernels.bzimage(), "x86_64"),
        (bytes(56) + b"ARM\x64", "aarch64"),
        (bytes(56) + b"RSC\x05", "riscv64"),
        (b"\x7fELF" + bytes(14) + b"\x15\0\0", "ppc64le"),
        (b"MZ\0\0zimg", "aarch64"),
        (b"noise", None),
    ],
)
def test_architectures(head: bytes, told: str | None, tmp_path: Path) -> None:
    """A kernel says what processor it is for."""
    path = tmp_path / "vmlinuz"
    path.write_bytes(head)
    assert ramdisk.architecture(path) == told


@pytest.mark.parametrize("compress", [bytes, gzip.compress])
def test_the_wrong_way_round(
    compress: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    """A kernel is no ramdisk, and a ramdisk no kernel."""
    kernel, initramfs = tmp_path / "vmlinuz", tmp_path / "initramfs"
    kernel.write_bytes(kernels.bzimage(size=4096))
    initramfs.write_bytes(compress(kernels.archive("init")))
    ramdisk.check(str(kernel), str(initramfs))
    compressed = tmp_path / "vmlinuz.gz"
    whole = gzip.compress(b"Image")
    for content in (whole, whole[:-8] + bytes(8)):
        compressed.write_bytes(content)
        ramdisk.check(str(compressed), None)
    with pytest.raises(errors.InvalidFile, match="vmlinuz: is a kernel"):
        ramdisk.check(None, str(kernel))
    with pytest.raises(errors.InvalidFile, match="initramfs: is a ramdisk"):
        ramdisk.check(str(initramfs), None)
