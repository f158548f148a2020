"""Compressions of archives: read by their first bytes, written by name."""

from __future__ import annotations

import lzma
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from imageprep_client.machine.archives.judging import BadArchive

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

try:
    from isal import igzip_lib, isal_zlib
except ImportError:
    # Without the extra `machine`, gzip is slower.
    igzip_lib = isal_zlib = None

#: Bytes that are handled at a time.
CHUNK = 1 << 20
# The dictionary of an xz stream takes as much memory as the stream says.
_XZ_MEMORY = 1 << 28
_DAMAGED: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zstd.ZstdError,
)
if isal_zlib is not None:
    _DAMAGED += (isal_zlib.error,)


class Decompressor(Protocol):
    """The interface that the decompressors of Python have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Compressor(Protocol):
    """The interface that the compressors of Python have in common."""

    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Gzip:
    """A gzip member, with the interface of the others."""

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


def _gunzip() -> Decompressor:
    if igzip_lib is None:
        return _Gzip()
    return igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)


_COMPRESSIONS: Sequence[tuple[bytes, Callable[[], Decompressor]]] = (
    (b"\x1f\x8b\x08", _gunzip),
    (b"\x28\xb5\x2f\xfd", zstd.ZstdDecompressor),
    (b"\xfd7zXZ\x00", lambda: lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),
)
_LONGEST = max(len(magic) for magic, _ in _COMPRESSIONS)


def decompressed(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The content of an archive, in pieces of at most a mebibyte.

    Without a known compression it is as it is.

    :param name: the archive, for messages.
    :raises BadArchive: when it is damaged or cut short.
    """
    first = b""
    while len(first) < _LONGEST and (chunk := next(chunks, b"")):
        first += chunk
    make = next(
        (make for magic, make in _COMPRESSIONS if first.startswith(magic)),
        None,
    )
    if make is None:
        yield first
        yield from chunks
        return
    try:
        yield from _unpacked(make, first, chunks)
    except _DAMAGED as error:
        raise BadArchive(f"{name}: is damaged: {error}") from None
    except _CutShort:
        raise BadArchive(f"{name}: is cut short") from None


class _CutShort(Exception):
    """The content ends inside a stream."""


def _unpacked(
    make: Callable[[], Decompressor], data: bytes, chunks: Iterator[bytes]
) -> Iterator[bytes]:
    """The content of one or more streams, one after the other."""
    current: Decompressor | None = None
    while True:
        if current is None:
            # Streams may be padded with zeros.
            data = data.lstrip(b"\0")
            if not data:
                data = next(chunks, b"")
                if not data:
                    return
                continue
            current = make()
        piece = current.decompress(data, CHUNK)
        data = b""
        if piece:
            yield piece
        if current.eof:
            data = current.unused_data
            current = None
        elif current.needs_input:
            data = next(chunks, b"")
            if not data:
                raise _CutShort
