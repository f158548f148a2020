"""Kernels and ramdisks as files: what they are for, and where they start."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from imageprep_client import decompression, errors

#: Bytes of a ramdisk that are looked at, unpacked.
_MAX_UNPACKED = 512 * 1024 * 1024
_MAX_NAME = 4096
_HEADER = 110
_MAGICS = (b"070701", b"070702")
_ZEROS = 64 * 1024
#: The trace of dracut in a ramdisk that is for its own host.
_HOST_ONLY = re.compile(
    r"(usr/)?lib/dracut/hostonly-(files|kernel-modules\.txt)"
)
_DRACUT = re.compile(r"(usr/)?lib/dracut(/.*)?")

_ERRORS = (zlib.error, zstd.ZstdError)
_ARM64 = b"ARM\x64"
_RISCV = b"RSC\x05"


def architecture(kernel: Path) -> str | None:
    """The processor that a kernel is for, where its header tells it."""
    with kernel.open("rb") as file:
        head = file.read(4096)
    if head[0x202:0x206] == b"HdrS":
        return "x86_64"
    if head[56:60] == _ARM64:
        return "aarch64"
    if head[56:60] == _RISCV:
        return "riscv64"
    if head[:4] == b"\x7fELF" and len(head) > 20:
        (machine,) = struct.unpack_from("<H", head, 18)
        (swapped,) = struct.unpack_from(">H", head, 18)
        machines = {62: "x86_64", 183: "aarch64", 21: "ppc64le", 22: "s390x"}
        return machines.get(machine) or machines.get(swapped)
    if head[:2] == b"MZ" and head[4:8] == b"zimg":
        return "aarch64"
    return None


def check(kernel: str | None, ramdisk: str | None) -> None:
    """Check that a kernel and a ramdisk were not mistaken for each other.

    :raises InvalidFile: when one is the other.
    """
    hint = "--kernel and --ramdisk may be the wrong way round"
    if ramdisk and architecture(Path(ramdisk)):
        raise errors.InvalidFile(ramdisk, "is a kernel", hint=hint)
    if kernel and _is_archive(Path(kernel)):
        raise errors.InvalidFile(kernel, "is a ramdisk", hint=hint)


def _is_archive(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return next(_names(file), None) is not None
    except (gzip.BadGzipFile, EOFError, ValueError, lzma.LZMAError, *_ERRORS):
        return False


def host_only(ramdisk: Path) -> str:
    """Whether a ramdisk has drivers for the host that it was made on only.

    :returns: ``yes``, ``no``, or ``unknown``.
    """
    generic = False
    try:
        with ramdisk.open("rb") as file:
            for name in _names(file):
                if _HOST_ONLY.fullmatch(name):
                    return "yes"
                generic = generic or bool(_DRACUT.fullmatch(name))
    except (OSError, EOFError, ValueError, lzma.LZMAError, *_ERRORS):
        # It is compressed in another way, or cut short: nothing is known.
        return "unknown"
    return "no" if generic else "unknown"


def _names(file: BinaryIO) -> Iterator[str]:
    """The names in all archives of a ramdisk; the last may be compressed."""
    read = 0
    while True:
        head = file.read(6)
        while head and not head.strip(b"\0") and read < _ZEROS:
            read += len(head)
            head = head.lstrip(b"\0") or file.read(4)
        head = head.lstrip(b"\0")
        head += file.read(6 - len(head)) if head else b""
        if not head:
            return
        file.seek(-len(head), 1)
        if head in _MAGICS:
            yield from _archive(file)
            continue
        inner = _unpacked(file, head)
        if inner is None:
            raise ValueError("a compression that is not known")
        yield from _archive(inner)
        return


def _unpacked(file: BinaryIO, head: bytes) -> BinaryIO | None:
    if head.startswith(decompression.GZIP):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if head.startswith((decompression.XZ, b"\x5d\0\0")):
        return cast(BinaryIO, lzma.LZMAFile(file))
    if head[:3] == b"BZh":
        return cast(BinaryIO, bz2.BZ2File(file))
    if head.startswith(decompression.ZSTD):
        return cast(BinaryIO, zstd.ZstdFile(file))
    return None


def _archive(file: BinaryIO) -> Iterator[str]:
    """The names in one archive, as the kernel's buffer-format.rst has it."""
    unpacked = 0
    while True:
        header = file.read(_HEADER)
        if len(header) < _HEADER or header[:6] not in _MAGICS:
            raise ValueError("no archive")
        size, name_size = int(header[54:62], 16), int(header[94:102], 16)
        if name_size > _MAX_NAME:
            raise ValueError("a name without end")
        name = file.read(name_size).rstrip(b"\0").decode(errors="replace")
        _skip(file, -(_HEADER + name_size) % 4)
        if name == "TRAILER!!!":
            return
        yield name.removeprefix("./").removeprefix("/")
        unpacked += size
        if unpacked > _MAX_UNPACKED:
            raise ValueError("an archive without end")
        _skip(file, size + -size % 4)


def _skip(file: BinaryIO, count: int) -> None:
    while count:
        data = file.read(min(count, _ZEROS))
        if not data:
            raise EOFError
        count -= len(data)
