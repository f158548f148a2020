"""Decompressors with one interface, by the first bytes of their formats."""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The dictionary of an xz stream takes as much memory as the stream says.
_XZ_MEMORY = 1 << 28
#: Errors of decompressors about damaged content.
DAMAGED: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zstd.ZstdError,
)


class Decompressor(Protocol):
    """The interface that the decompressors of Python have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class GzipMember:
    """A decompressor of one gzip member."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 16)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(
            self._zlib.unconsumed_tail + data, max_length
        )


#: Makers of decompressors, by the bytes that their formats begin with.
Formats = Mapping[bytes, Callable[[], Decompressor]]
GZIP, ZSTD, XZ = b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\x00"
FORMATS: Formats = {
    GZIP: GzipMember,
    ZSTD: zstd.ZstdDecompressor,
    XZ: lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY),
}
#: Bytes from which a format can be told.
_LONGEST = max(map(len, FORMATS))


def unpacked(
    chunks: Iterator[bytes],
    size: int,
    formats: Formats = FORMATS,
    *,
    padding: bytes = b"",
) -> Iterator[bytes]:
    """Content without its compression; as it is without a known one.

    :param size: bytes of a decompressed piece, at most.
    :param padding: the bytes that may be between streams.
    :raises EOFError: when it is cut off.
    """
    data = b""
    while len(data) < _LONGEST and (more := next(chunks, b"")):
        data += more
    make = next((m for b, m in formats.items() if data.startswith(b)), None)
    if make is None:
        yield data
        yield from chunks
        return
    current = make()
    while True:
        if piece := current.decompress(data, size):
            yield piece
        data = b""
        if current.eof:
            data = current.unused_data.lstrip(padding)
            while not data:
                more = next(chunks, b"")
                if not more:
                    return
                data = more.lstrip(padding)
            current = make()
        elif current.needs_input:
            data = next(chunks, b"")
            if not data:
                raise EOFError("it is cut off")
