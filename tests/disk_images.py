"""Images of disks with an installed system, made by the real programs.

Making them needs root rights, for loop devices; reading them does not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from tests import kernels, programs

MIB = 1024**2
VERSION = "6.1.0-18.x86_64"
OLDER = "6.1.0-9.x86_64"
GROUP = "atomicos"
OSTREE = "/ostree/boot.1/test/abc/0"
DEPLOYMENT = "/ostree/deploy/test/deploy/sum.0"
_LVM = "E6D6D379-F507-44C2-A23C-238F2A3DF928"
_ROOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_EFI = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
_BOOT_SIZE = 64 * MIB
_FILE = 32 * MIB
_ROOT_SIZE = 320 * MIB  # the smallest of mkfs.xfs is 300


@dataclasses.dataclass(frozen=True)
class SampleDisk:
    """A disk and what is in it.

    :ivar raw: the disk as it is; other formats are made from it.
    :ivar extents: offsets and sizes of the root file system in it.
    """

    raw: Path
    kernel: bytes
    ramdisk: bytes
    extents: tuple[tuple[int, int], ...]
    uuid: str

    @property
    def root(self) -> bytes:
        with self.raw.open("rb") as file:
            return b"".join(
                os.pread(file.fileno(), size, offset)
                for offset, size in self.extents
            )

    def qcow2(self, *options: str) -> Path:
        """The disk as qcow2, with options of ``qemu-img convert``."""
        # Both characters mean something to qemu.
        path = self.raw.with_name(f"disk, image{''.join(options)}.qcow2")
        if not path.exists():
            words = ("-f", "raw", "-O", "qcow2", *options)
            _run("qemu-img", "convert", *words, str(self.raw), str(path))
        return path


def make(
    directory: Path,
    *,
    root: str = "ext4",
    lvm: bool = False,
    ostree: bool = False,
    sector_size: int = 512,
    data: int = 8 * MIB,
) -> SampleDisk:
    """A disk with a ``/boot`` in ext4 and a root.

    :param root: the file system of the root, ``ext4`` or ``xfs``.
    :param lvm: the root is on a logical volume, in two pieces.
    :param data: bytes in the root that cannot be compressed.
    """
    directory.mkdir(parents=True)
    kernel = kernels.bzimage(VERSION, 3 * MIB)
    ramdisk = kernels.ramdisk(4 * MIB)
    boot = directory / "boot"
    tree = directory / "root"
    _fill_boot(boot, kernel, ramdisk, lvm=lvm, ostree=ostree)
    _fill_root(tree, data, lvm=lvm, ostree=ostree)
    raw = directory / "disk.raw"
    root_size = max(_ROOT_SIZE, 2 * data)
    with raw.open("wb") as file:
        file.truncate(_BOOT_SIZE + 3 * root_size // 2 + 32 * MIB)
    last = (None, _LVM) if lvm else (root_size, _ROOT)
    starts = _partition(raw, sector_size, *last)
    # A root of LVM has to be made apart: it is in two pieces.
    part = directory / "root.img"
    with part.open("wb") as file:
        file.truncate(root_size)
    _mkfs(root, tree, part, sector_size)
    _run(
        *("mkfs.ext4", "-q", "-F", "-d", str(boot)),
        *("-E", f"offset={starts[2]}", str(raw), f"{_BOOT_SIZE // 1024}k"),
    )
    extents = (
        tuple(_lvm(raw, starts[3], root_size, directory))
        if lvm
        else ((starts[3], root_size),)
    )
    content = part.read_bytes()
    with raw.open("r+b") as file:
        for offset, size in extents:
            os.pwrite(file.fileno(), content[:size], offset)
            content = content[size:]
    uuid = _run("blkid", "-p", "-s", "UUID", "-o", "value", str(part)).strip()
    for path in (boot, tree):
        shutil.rmtree(path)
    part.unlink()
    return SampleDisk(raw, kernel, ramdisk, extents, uuid)


def options_of(*, lvm: bool, ostree: bool) -> str:
    """The command line in the boot loader's entry."""
    root = f"/dev/mapper/{GROUP}-root" if lvm else "LABEL=system"
    words = ["no_timer_check", f"root={root}"]
    if lvm:
        words.append(f"rd.lvm.lv={GROUP}/root")
    if ostree:
        words.append(f"ostree={OSTREE}")
    return " ".join([*words, "console=ttyS0", "$kernelopts"])


def _fill_boot(
    boot: Path, kernel: bytes, ramdisk: bytes, *, lvm: bool, ostree: bool
) -> None:
    entries = boot / "loader/entries"
    where = ""
    if ostree:
        # OSTree exchanges a link, and has files of the same kernel version
        # in a directory for each set.
        entries = boot / "loader.1/entries"
        where = "/ostree/test-abc"
    entries.mkdir(parents=True)
    if ostree:
        (boot / "loader").symlink_to("loader.1")
        (boot / where[1:]).mkdir(parents=True)
    (boot / f"{where[1:]}/vmlinuz-{VERSION}").write_bytes(kernel) if (
        where
    ) else (boot / f"vmlinuz-{VERSION}").write_bytes(kernel)
    home = boot / where[1:] if where else boot
    (home / f"initramfs-{VERSION}.img").write_bytes(ramdisk)
    options = options_of(lvm=lvm, ostree=ostree)
    versions = [VERSION]
    if not ostree:
        for other in (OLDER, "0-rescue-0123"):
            (home / f"vmlinuz-{other}").write_bytes(b"older")
            (home / f"initramfs-{other}.img").write_bytes(b"older")
            versions.append(other)
    for version in versions:
        (entries / f"test-{version}.conf").write_text(
            f"title Test\nversion {version}\nlinux {where}/vmlinuz-{version}\n"
            f"initrd {where}/initramfs-{version}.img $tuned_initrd\n"
            f"options {options} $tuned_params\n"
        )
    (boot / "grub2").mkdir()
    (boot / "grub2/grubenv").write_text(
        "# GRUB Environment Block\nkernelopts=net.ifnames=0\n####"
    )


def _fill_root(root: Path, data: int, *, lvm: bool, ostree: bool) -> None:
    system = root / DEPLOYMENT[1:] if ostree else root
    (system / "usr/lib").mkdir(parents=True)
    (system / "etc").mkdir()
    (system / "usr/lib/os-release").write_text(
        'NAME="Test Linux"\nPRETTY_NAME="Test Linux 9 (Nine)"\nID=test\n'
    )
    (system / "etc/os-release").symlink_to("../usr/lib/os-release")
    source = f"/dev/mapper/{GROUP}-root" if lvm else "LABEL=system"
    (system / "etc/fstab").write_text(
        f"# made by the installer\n{source} / auto defaults 0 1\n"
        "UUID=0123-4567 /boot/efi vfat umask=0077 0 2\n"
        "LABEL=boot /boot ext4 defaults 1 2\n"
        "tmpfs /tmp tmpfs defaults 0 0\n"
        "LABEL=other /srv/a-b ext4 nofail 0 0\n"
    )
    if ostree:
        (root / "ostree/boot.1.1/test/abc").mkdir(parents=True)
        (root / "ostree/boot.1").symlink_to("boot.1.1")
        (root / "ostree/boot.1.1/test/abc/0").symlink_to(
            f"../../..{DEPLOYMENT.removeprefix('/ostree')}"
        )
    # mkfs.xfs spoils its own headers with files over an allocation group.
    for number, left in enumerate(range(data, 0, -_FILE)):
        content = kernels.noise(number, min(left, _FILE))
        (root / f"data-{number}").write_bytes(content)


def _partition(
    raw: Path, sector_size: int, size: int | None, kind: str
) -> dict[int, int]:
    """Write a GPT; the offsets of the partitions by number.

    :param size: bytes of the last one; None: all that is left.
    """
    unit = MIB // sector_size
    table = (
        f"label: gpt\nstart={unit}, size={unit}, type={_EFI}\n"
        f"size={_BOOT_SIZE // sector_size}, type={_LINUX}\n"
        f"size={size // sector_size if size else '+'}, type={kind}\n"
    )
    with _loop(raw, "--sector-size", str(sector_size)) as device:
        programs.run("sfdisk", "-q", "--no-tell-kernel", device, stdin=table)
    return {1: MIB, 2: 2 * MIB, 3: 2 * MIB + _BOOT_SIZE}


def _mkfs(kind: str, tree: Path, image: Path, sector_size: int) -> None:
    if kind == "ext4":
        words = ("mkfs.ext4", "-q", "-F", "-L", "system")
        _run(*words, "-d", str(tree), str(image))
        return
    prototype = image.with_suffix(".proto")
    lines = ["/", "0 0", "d--755 0 0", *_prototype(tree), "$"]
    prototype.write_text("\n".join(lines) + "\n")
    _run(
        *("mkfs.xfs", "-q", "-L", "system", "-s", f"size={sector_size}"),
        *("-p", str(prototype), str(image)),
    )


def _prototype(directory: Path) -> Iterator[str]:
    """The content of a directory, as mkfs.xfs(8) reads it."""
    for path in sorted(directory.iterdir()):
        if path.is_symlink():
            yield f"{path.name} l--777 0 0 {os.readlink(path)}"
        elif path.is_dir():
            yield f"{path.name} d--755 0 0"
            yield from _prototype(path)
            yield "$"
        else:
            yield f"{path.name} ---644 0 0 {path}"


def _lvm(
    raw: Path, start: int, root_size: int, directory: Path
) -> Iterator[tuple[int, int]]:
    """A volume group whose root is in two pieces, with a gap between."""
    size = raw.stat().st_size - start - MIB
    place = ("-o", str(start), "--sizelimit", str(size))
    first = root_size // 2
    with _loop(raw, *place) as device:
        home = directory / "lvm"
        home.mkdir()
        (home / "lvm.conf").write_text(
            f"""\
global {{ activation = 0 }}
devices {{
    filter = [ "a|^{device}$|", "r|.*|" ]
    use_devicesfile = 0
}}
backup {{ backup = 0 archive = 0 }}
"""
        )
        unused = ("-an", "-Zn", "-Wn")
        for words in (
            ("pvcreate", device),
            ("vgcreate", GROUP, device),
            ("lvcreate", *unused, "-L", "8M", "-n", "gone", GROUP),
            ("lvcreate", *unused, "-L", f"{first}b", "-n", "root", GROUP),
            ("lvcreate", *unused, "-L", "8M", "-n", "swap", GROUP),
            ("lvextend", "-L", f"{root_size}b", f"{GROUP}/root"),
            ("lvremove", "-f", f"{GROUP}/gone"),
        ):
            _run(words[0], "-q", *words[1:], LVM_SYSTEM_DIR=str(home))
        table = _run(
            *("pvs", "--noheadings", "-o", "pe_start", "--units", "b"),
            *("--nosuffix", device),
            LVM_SYSTEM_DIR=str(home),
        )
        segments = _run(
            *("lvs", "--noheadings", "--segments", "--units", "b"),
            *("--nosuffix", "-o", "seg_pe_ranges", f"{GROUP}/root"),
            LVM_SYSTEM_DIR=str(home),
        )
    extent = 4 * MIB
    for word in segments.split():
        one, last = map(int, word.rpartition(":")[2].split("-"))
        yield (
            start + int(table.split()[-1]) + one * extent,
            (last - one + 1) * extent,
        )


@contextlib.contextmanager
def _loop(path: Path, *options: str) -> Iterator[str]:
    device = _run("losetup", "-f", "--show", *options, str(path)).strip()
    try:
        yield device
    finally:
        _run("losetup", "-d", device)


def _run(*words: str, **environment: str) -> str:
    return programs.run(*words, env={**os.environ, **environment})
