"""A root packed, compressed and hashed in one pass."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import queue
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Protocol

from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine.archives import compression, copies
from imageprep_client.machine.archives.compression import CHUNK
from imageprep_client.machine.scrub import Scrub, ScrubbedPath
from imageprep_client.programs import tar

_AHEAD = 8
_END = memoryview(b"")


class Writable(Protocol):
    """A file without a buffer."""

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
        reader = ReadableDirectory(root)
        copies.make(reader, scrubbed, top)
        reader.close()
        excluded = [entry.path for entry in scrubbed]
        kept = any(entry.action is not Scrub.REMOVE for entry in scrubbed)
        with tar.packing(
            root, excluded=excluded, copies=Path(directory) if kept else None
        ) as packing:
            writer = _Writer(file, compression_name, advanced)
            unpacked, diff_id = writer.run(packing.stdout)
            packing.finish()
        return PackedRoot(
            writer.digest,
            writer.size,
            diff_id,
            unpacked,
            tuple(packing.changed),
            packing.sockets,
        )


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
        steps = [lambda: self._write(packed)]
        if self._name == "none":
            raw = packed
        else:
            steps.append(lambda: self._compress(raw, packed))
        # The buffers, used again and again, bound what is read ahead.
        for _ in range(_AHEAD):
            self._free.put(bytearray(CHUNK))
        threads = [threading.Thread(target=step) for step in steps]
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
        diff_id = f"sha256:{digest.hexdigest()}"
        self.digest = self.digest or diff_id
        return unpacked, diff_id

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
                self._release(piece)
            pass_on(compressor.flush())
            self.digest = f"sha256:{digest.hexdigest()}"
        except BaseException as error:  # raised by `run`
            self._failure = error
            self._free.put(bytearray(CHUNK))  # it waits for one
        finally:
            packed.put(_END)

    def _write(self, packed: queue.Queue[memoryview]) -> None:
        while piece := packed.get():
            if not self._failure:
                try:
                    rest = piece
                    while rest:
                        rest = rest[self._file.write(rest) :]
                except OSError as error:  # raised by `run`
                    self._failure = error
                self.size += len(piece)
                self._advanced(len(piece))
            self._release(piece)

    def _release(self, piece: memoryview) -> None:
        """Let a buffer be used again, if the piece is in one."""
        if isinstance(piece.obj, bytearray):
            self._free.put(piece.obj)


def _fill(stream: IO[bytes], buffer: bytearray) -> int:
    """Read until a buffer is full, or to the end; the bytes in it."""
    view = memoryview(buffer)
    size = 0
    while size < len(view) and (
        count := os.readv(stream.fileno(), [view[size:]])
    ):
        size += count
    return size
