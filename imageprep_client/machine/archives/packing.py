"""A root packed, compressed and hashed in one pass."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol, cast

from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine.archives import compression, copies
from imageprep_client.machine.archives.compression import CHUNK
from imageprep_client.machine.scrub import Scrub, ScrubbedPath
from imageprep_client.programs import tar

_AHEAD = 8
#: Bytes that are hashed at a time, in the cache of a processor, and seconds
#: until there are more.
_PIECE = 1 << 18
_PAUSE = 0.002
_END = memoryview(b"")


class Writable(Protocol):
    """An empty file without a buffer."""

    def fileno(self) -> int: ...

    def write(self, data: memoryview, /) -> int: ...


@dataclasses.dataclass(frozen=True, slots=True)
class PackedRoot:
    """The result of packing.

    :ivar digest: of the archive, as it was written.
    :ivar diff_id: of the archive without its compression.
    :ivar changed: messages about files that changed meanwhile.
    :ivar sockets: how many were left out.
    """

    digest: str
    size: int
    diff_id: str
    unpacked_size: int
    changed: tuple[str, ...]
    sockets: int


def pack(
    root: Path,
    file: Writable,
    *,
    compression_name: str,
    scrubbed: Sequence[ScrubbedPath],
    scratch: Path,
    advanced: Callable[[int], None],
) -> PackedRoot:
    """Pack a root into a file that is open for writing.

    :param scrubbed: what is left out or changed.
    :param scratch: where temporary directories are made.
    :param advanced: is told the bytes that were written.
    :raises TarError: when tar fails.
    """
    with tempfile.TemporaryDirectory(
        prefix="image-prepare-", dir=scratch
    ) as directory:
        top = tar.copies_in(Path(directory))
        copies.make(ReadableDirectory(root), scrubbed, top)
        kept = any(entry.action is not Scrub.REMOVE for entry in scrubbed)
        plain = compression_name == "none"
        with tar.packing(
            root,
            excluded=[entry.path for entry in scrubbed],
            copies=Path(directory) if kept else None,
            output=file.fileno() if plain else None,
        ) as packing:
            if plain:
                unpacked, diff_id = _follow(packing, file.fileno(), advanced)
                size, digest = unpacked, diff_id
            else:
                writer = _Writer(file, compression_name, advanced)
                unpacked, diff_id = writer.run(packing.stdout)
                size, digest = writer.size, writer.digest
            packing.finish()
        changed = tuple(packing.changed)
        return PackedRoot(
            digest, size, diff_id, unpacked, changed, packing.sockets
        )


def _follow(
    packing: tar.Packing, file: int, advanced: Callable[[int], None]
) -> tuple[int, str]:
    """Hash an archive while it is written to a file; its size and digest.

    A pipe in between would take as long as the hash does.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_PIECE))
    size = 0
    # The file may be open for writing alone.
    with open(f"/proc/self/fd/{file}", "rb", buffering=0) as written:
        while True:
            has_ended = packing.has_ended()
            count = written.readinto(buffer)
            if count:
                digest.update(buffer[:count])
                size += count
                advanced(count)
            elif has_ended:
                return size, f"sha256:{digest.hexdigest()}"
            else:
                time.sleep(_PAUSE)


class _Writer:
    """Compresses, hashes and writes, in a thread for each."""

    def __init__(
        self, file: Writable, name: str, advanced: Callable[[int], None]
    ) -> None:
        self._file = file
        self._name = name
        self._advanced = advanced
        self._failure: BaseException | None = None
        self._free: queue.Queue[bytearray] = queue.Queue()
        self.digest = ""
        self.size = 0

    def run(self, stream: IO[bytes]) -> tuple[int, str]:
        """Read the archive to its end; its size and diff ID."""
        raw: queue.Queue[memoryview] = queue.Queue()
        packed: queue.Queue[memoryview] = queue.Queue(_AHEAD)
        steps = [
            lambda: self._write(packed),
            lambda: self._compress(raw, packed),
        ]
        # The buffers, used again and again, bound what is read ahead.
        for _ in range(_AHEAD):
            self._free.put(bytearray(CHUNK))
        # If the second one cannot start, the first one waits for ever.
        threads = [
            threading.Thread(target=step, daemon=True) for step in steps
        ]
        for thread in threads:
            thread.start()
        unpacked = 0
        digest = hashlib.sha256()
        try:
            while not self._failure:
                buffer = self._free.get()
                piece = memoryview(buffer)[: _fill(stream, buffer)]
                if not piece:
                    break
                unpacked += len(piece)
                digest.update(piece)
                raw.put(piece)
        finally:
            raw.put(_END)
            for thread in threads:
                thread.join()
        if self._failure:
            raise self._failure
        return unpacked, f"sha256:{digest.hexdigest()}"

    def _compress(
        self, raw: queue.Queue[memoryview], packed: queue.Queue[memoryview]
    ) -> None:
        digest = hashlib.sha256()

        def pass_on(data: bytes) -> None:
            if data:
                digest.update(data)
                packed.put(memoryview(data))

        try:
            compressor = compression.COMPRESSORS[self._name]()
            while piece := raw.get():
                pass_on(compressor.compress(piece))
                self._free.put(cast(bytearray, piece.obj))
            pass_on(compressor.flush())
            self.digest = f"sha256:{digest.hexdigest()}"
        except BaseException as error:  # raised by `run`
            self._failure = error
            self._free.put(bytearray(CHUNK))  # it waits for one
        finally:
            packed.put(_END)

    def _write(self, packed: queue.Queue[memoryview]) -> None:
        while piece := packed.get():
            if self._failure:
                continue
            try:
                rest = piece
                while rest:
                    rest = rest[self._file.write(rest) :]
                self.size += len(piece)
                self._advanced(len(piece))
            except BaseException as error:  # raised by `run`
                self._failure = error


def _fill(stream: IO[bytes], buffer: bytearray) -> int:
    """Read until a buffer is full, or to the end; the bytes in it."""
    view = memoryview(buffer)
    size = 0
    while size < len(view) and (
        count := os.readv(stream.fileno(), [view[size:]])
    ):
        size += count
    return size
