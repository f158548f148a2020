"""Compressions of archives: read by their first bytes, written by name."""

from __future__ import annotations

import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, cast

from imageprep_client.machine.archives.judging import BadArchive

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_DAMAGED: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    zstd.ZstdError,
)

try:
    from isal import igzip_lib, isal_zlib
except ImportError:  # gzip is slower without the extra `machine`
    _GUNZIP = _GZIP_FAST = None
else:
    _GZIP_FAST = isal_zlib.compressobj
    _GUNZIP = igzip_lib.IgzipDecompressor
    # Its type is not what its stub says.
    _DAMAGED = (*_DAMAGED, cast(type[Exception], igzip_lib.error))

#: Bytes that are handled at a time.
CHUNK = 1 << 20
# The dictionary of an xz stream takes as much memory as the stream says.
_XZ_MEMORY = 1 << 28
#: igzip_lib.DECOMP_GZIP
_GZIP = 1


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
    return _Gzip() if _GUNZIP is None else _GUNZIP(flag=_GZIP)


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


def _gzip() -> Compressor:
    """As fast as can be had: about as small as level 3 of zlib."""
    if _GZIP_FAST is not None:
        return _GZIP_FAST(2, isal_zlib.DEFLATED, zlib.MAX_WBITS | 16)
    return zlib.compressobj(1, zlib.DEFLATED, zlib.MAX_WBITS | 16)


def _zstd() -> Compressor:
    # With a worker the content is cut into the same jobs, however many
    # workers there are.
    workers = max(1, min(4, os.cpu_count() or 1))
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: 3,
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.nb_workers: workers,
    }
    return zstd.ZstdCompressor(options=options)


class _Stored:
    """No compression."""

    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


#: Makes a compressor, by the name of the compression.
COMPRESSORS: Mapping[str, Callable[[], Compressor]] = {
    "gz": _gzip,
    "zst": _zstd,
    "xz": lambda: lzma.LZMACompressor(preset=1),
    "none": _Stored,
}
