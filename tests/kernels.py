"""Kernels and ramdisks as files, of the forms that programs look at."""

from __future__ import annotations

import gzip
import random
import struct

_PIECE = 1024**2


def noise(seed: int, size: int) -> bytes:
    """Bytes that cannot be compressed, the same ones each time."""
    source = random.Random(seed)  # noqa: S311 - no secret
    pieces = range(0, size, _PIECE)
    return b"".join(source.randbytes(min(_PIECE, size - p)) for p in pieces)


def bzimage(version: str = "6.1.0", size: int = 1024**2) -> bytes:
    """An x86 kernel: its header is that of Linux' boot protocol 2.15.

    As real ones it ends its first sector with the magic of an MBR, in whose
    partition table there is code.
    """
    header = bytearray(noise(2, 1024))
    header[:2] = b"MZ"
    header[446] = 0x55  # no flag of a partition
    struct.pack_into("<H", header, 510, 0xAA55)
    struct.pack_into("<H4sH", header, 0x200, 0x6AEB, b"HdrS", 0x020F)
    text = version.encode() + b" (test) #1\0"
    struct.pack_into("<H", header, 0x20E, 0x100)
    header[0x300 : 0x300 + len(text)] = text
    rest = noise(3, max(0, size - len(header)))
    return bytes(header) + rest


def archive(*names: str, size: int = 0) -> bytes:
    """A cpio archive with files of random content."""
    content = noise(4, size)
    parts = []
    for number, name in enumerate((*names, "TRAILER!!!"), 1):
        data = b"" if name == "TRAILER!!!" else content
        encoded = name.encode() + b"\0"
        fields = (number, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0)
        head = b"070701" + b"".join(
            b"%08X" % field for field in (*fields, len(encoded), 0)
        )
        parts += [head + encoded]
        parts += [b"\0" * (-len(parts[-1]) % 4), data]
        parts += [b"\0" * (-len(data) % 4)]
    return b"".join(parts)


def ramdisk(size: int) -> bytes:
    """A ramdisk as dracut makes it: microcode, then a compressed archive."""
    names = ["init", "usr/lib/dracut/dracut-057"]
    early = archive("kernel/x86/microcode/GenuineIntel.bin", size=100)
    early += bytes(-len(early) % 512)
    return early + gzip.compress(archive(*names, size=size // len(names)), 1)
