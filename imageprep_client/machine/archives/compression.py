"""Compressions of archives: read by their first bytes, written by name."""

from __future__ import annotations

import lzma
import os
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, cast

from imageprep_client import decompression
from imageprep_client.decompression import Decompressor, GzipMember
from imageprep_client.machine.archives.judging import BadArchive

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

_DAMAGED = decompression.DAMAGED
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
#: igzip_lib.DECOMP_GZIP
_GZIP = 1


class Compressor(Protocol):
    """The interface that the compressors of Python have in common."""

    def compress(self, data: memoryview, /) -> bytes: ...

    def flush(self) -> bytes: ...


def _gunzip() -> Decompressor:
    return GzipMember() if _GUNZIP is None else _GUNZIP(flag=_GZIP)


_FORMATS = {**decompression.FORMATS, decompression.GZIP: _gunzip}


def decompressed(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The content of an archive, in pieces of at most a mebibyte.

    Without a known compression it is as it is.

    :param name: the archive, for messages.
    :raises BadArchive: when it is damaged or cut short.
    """
    try:
        yield from decompression.unpacked(
            chunks, CHUNK, _FORMATS, padding=b"\0"
        )
    except EOFError:
        raise BadArchive(f"{name}: is cut short") from None
    except _DAMAGED as error:
        raise BadArchive(f"{name}: is damaged: {error}") from None


def _gzip() -> Compressor:
    """The fastest one available, about as small as level 3 of zlib."""
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


#: Makes a compressor, by the name of the compression.
COMPRESSORS: Mapping[str, Callable[[], Compressor]] = {
    "gz": _gzip,
    "zst": _zstd,
    "xz": lambda: lzma.LZMACompressor(preset=1),
}
