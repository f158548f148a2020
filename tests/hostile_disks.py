"""Images of disks that somebody made to do harm, by what they try."""

from __future__ import annotations

import struct
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests import disk_bytes, kernels, programs
from tests.disk_bytes import GROUP, gpt, physical_volume, qcow2

MIB = 1024**2
#: A file outside of all images. None of them may get at it.
SECRET = "outside-of-images"
#: By name, a function that writes the image; `SECRET` is beside it.
MAKERS: dict[str, Callable[[Path], object]] = {}


def _file(name: str, content: Callable[[], bytes]) -> None:
    MAKERS[name] = lambda path: path.write_bytes(content())


def _disk(volume: bytes, kind: str = disk_bytes.LINUX) -> bytes:
    """A disk with one partition."""
    first = 2048
    last = first + len(volume) // 512 - 1
    disk = gpt(len(volume) + 3 * MIB, [(first, last)], kind=kind)
    disk[MIB : MIB + len(volume)] = volume
    return bytes(disk)


def _lvm(
    *changes: tuple[str, str], area: dict[str, int] | None = None
) -> bytes:
    text = GROUP
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return _disk(
        bytes(physical_volume(4 * MIB, text, area=area)), disk_bytes.LVM
    )


def _qemu(*words: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        command = ("qemu-img", "create", "-q", *words, path.name, "1M")
        programs.run(*command, cwd=path.parent)

    return make


def _tree(
    fill: Callable[[Path], None], after: Callable[[Path], None] | None = None
) -> Callable[[Path], None]:
    """A disk whose only partition is an ext4 that has these files.

    :param after: changes the file system.
    """

    def make(path: Path) -> None:
        home = path.with_name(f"{path.name}.d")
        (home / "etc").mkdir(parents=True)
        (home / "etc/os-release").write_text("ID=test\n")
        (home / "boot").mkdir()
        (home / "boot/vmlinuz-6.1").write_bytes(kernels.bzimage(size=4096))
        (home / "boot/initramfs-6.1.img").write_bytes(kernels.ramdisk(4096))
        fill(home)
        volume = path.with_name(f"{path.name}.ext4")
        programs.run(
            "mkfs.ext4", "-q", "-F", "-N", "40000", "-d", home, volume, "48M"
        )
        if after:
            after(volume)
        path.write_bytes(_disk(volume.read_bytes()))

    return make


def _links_out(home: Path) -> None:
    for name in ("vmlinuz-6.1", "initramfs-6.1.img"):
        (home / "boot" / name).unlink()
    (home / "boot/vmlinuz-6.1").symlink_to("/../../../../etc/shadow")
    (home / "boot/initramfs-6.1.img").symlink_to("../../../../etc/shadow")
    _entry(home, "linux /../../../../../../etc/shadow\n")


def _entry(home: Path, text: str) -> None:
    entries = home / "boot/loader/entries"
    entries.mkdir(parents=True)
    (entries / "a.conf").write_text(text)


def _loops(home: Path) -> None:
    (home / "etc/os-release").unlink()
    (home / "etc/os-release").symlink_to("other")
    (home / "etc/other").symlink_to("os-release")


#: In a mount namespace of its own: one that another test makes meanwhile
#: would keep the file system mounted and its names unwritten.
_FILL = """
mount -o loop "$0" "$1"
seq -f %0240.0f 25000 | (cd "$1/boot" && xargs touch)
umount "$1"
"""


def _crowd(volume: Path) -> None:
    """More names than anybody needs; mkfs would take long to add them."""
    point = volume.with_suffix(".mount")
    point.mkdir()
    subprocess.run(
        ["unshare", "--mount", "sh", "-ec", _FILL, volume, point], check=True
    )


def _large_text(home: Path) -> None:
    (home / "etc/fstab").write_bytes(b"# \n" * MIB)


def _options(home: Path) -> None:
    _entry(
        home,
        "linux /boot/vmlinuz-6.1\ninitrd /boot/initramfs-6.1.img\n"
        'options root=/dev/vda1 "quoted word" \x07\n',
    )


def _damaged(path: Path) -> None:
    """An ext4 whose tables are noise."""
    _tree(lambda _: None)(path)
    disk = bytearray(path.read_bytes())
    start = MIB + 4096
    disk[start : start + 8 * MIB] = kernels.noise(1, 8 * MIB)
    path.write_bytes(disk)


def _truncated(path: Path) -> None:
    """A qcow2 whose last clusters are missing."""
    raw = path.with_suffix(".raw")
    raw.write_bytes(kernels.noise(1, 4 * MIB))
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path],
        check=True,
    )
    path.write_bytes(path.read_bytes()[: 2 * MIB])


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(1024**4)


def _two_formats() -> bytes:
    image = bytearray(qcow2())
    image[0x8000:0x8006] = b"\x01CD001"
    return bytes(image)


def _two_file_systems() -> bytes:
    volume = bytearray(4 * MIB)
    volume[:4] = b"XFSB"
    volume[1080:1082] = b"\x53\xef"
    return _disk(bytes(volume))


def _too_large(kind: str) -> bytes:
    volume = bytearray(4 * MIB)
    if kind == "xfs":
        struct.pack_into(">4sIQ", volume, 0, b"XFSB", 4096, 2**50)
    else:
        struct.pack_into("<I", volume, 1024 + 4, 2**31)
        volume[1080:1082] = b"\x53\xef"
    return _disk(bytes(volume))


_VMDK = b"""# Disk DescriptorFile
version=1
CID=fffffffe
parentCID=ffffffff
createType="monolithicFlat"
RW 20480 FLAT "outside-of-images" 0
""".ljust(4096, b"\0")

MAKERS["backing file"] = _qemu(*("-f", "qcow2", "-b", SECRET, "-F", "raw"))
MAKERS["data file"] = _qemu(
    "-f", "qcow2", "-o", f"data_file={SECRET}.data,data_file_raw=on"
)
MAKERS["VMDK"] = _qemu("-f", "vmdk")
MAKERS["VDI"] = _qemu("-f", "vdi")
MAKERS["VHD"] = _qemu("-f", "vpc")
MAKERS["VHDX"] = _qemu("-f", "vhdx")
MAKERS["QED"] = _qemu("-f", "qed", "-b", SECRET, "-F", "raw")
MAKERS["truncated"] = _truncated
MAKERS["sparse"] = _sparse
_file("VMDK descriptor", lambda: _VMDK)
_file("unknown features", lambda: qcow2(incompatible=1 << 40))
_file("version 1", lambda: qcow2(version=1))
_file("8 EiB", lambda: qcow2(2**63 - 512))
_file("1 TiB", lambda: qcow2(2**40, l1_entries=2048))
_file("100 bytes", lambda: qcow2()[:100])
_file("clusters of 2^63", lambda: qcow2(bits=63))
_file("encrypted", lambda: qcow2(encryption=1))
_file("L1 outside", lambda: qcow2(l1=2**50))
_file("refcounts outside", lambda: qcow2(refcount_clusters=2**31))
_file("two formats", _two_formats)
_file("LUKS", lambda: b"LUKS\xba\xbe\0\1".ljust(MIB, b"\0"))
_file(
    "MBR",
    lambda: (
        bytes(446)
        + b"\x80\0\2\0\x83".ljust(64, b"\0")
        + b"\x55\xaa"
        + bytes(MIB)
    ),
)
_file(
    "GPT loop",
    lambda: bytes(gpt(4 * MIB, [(2048, 4095)], primary={"other": 1})),
)
_file("GPT beyond", lambda: bytes(gpt(4 * MIB, [(2048, 2**50)])))
_file("GPT overlap", lambda: bytes(gpt(4 * MIB, [(2048, 4095), (4000, 5000)])))
_file(
    "GPT huge",
    lambda: bytes(gpt(4 * MIB, [(2048, 4095)], primary={"count": 2**32 - 1})),
)
_file("GPT cut", lambda: bytes(gpt(4 * MIB, [(2048, 4095)]))[: 3 * MIB])
_file("LVM overlap", lambda: _lvm(('"pv0", 10', '"pv0", 3')))
_file("LVM beyond", lambda: _lvm(('"pv0", 10', '"pv0", 999999')))
_file("LVM deep", lambda: _lvm((GROUP, "a {" * 1000)))
_file("LVM long", lambda: _lvm(area={"length": 2**40}))
_file("LVM loop", lambda: _lvm(area={"at": 0x7FFFFFFF}))
_file("LVM thin", _lvm)
_file("two file systems", _two_file_systems)
_file("large XFS", lambda: _too_large("xfs"))
_file("large ext4", lambda: _too_large("ext4"))
MAKERS["damaged ext4"] = _damaged
MAKERS["links out"] = _tree(_links_out)
MAKERS["link loop"] = _tree(_loops)
MAKERS["crowd"] = _tree(lambda _: None, _crowd)
MAKERS["large text"] = _tree(_large_text)
MAKERS["odd options"] = _tree(_options)


def make(name: str, directory: Path) -> Path:
    """An image, in a directory that has the secret, too."""
    directory.mkdir(exist_ok=True)
    (directory / SECRET).write_bytes(b"secret".ljust(MIB))
    path = directory / "image"
    MAKERS[name](path)
    return path
