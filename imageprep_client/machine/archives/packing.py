"""A root packed, compressed and hashed in one pass."""

from __future__ import annotations

import dataclasses
import hashlib
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
            f"sha256:{writer.hash.hexdigest()}",
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
        self.hash = hashlib.sha256()
        self.size = 0
        self._compressed = name == "none"

    def run(self, stream: IO[bytes]) -> tuple[int, str]:
        """Read the archive to its end; its size and diff ID."""
        raw: queue.Queue[bytes] = queue.Queue(_AHEAD)
        packed: queue.Queue[bytes] = queue.Queue(_AHEAD)
        steps = [lambda: self._write(packed)]
        if self._name != "none":
            steps.append(lambda: self._compress(raw, packed))
        first = packed if self._name == "none" else raw
        threads = [threading.Thread(target=step) for step in steps]
        for thread in threads:
            thread.start()
        unpacked = 0
        digest = hashlib.sha256()
        try:
            while not self._failure and (chunk := _filled(stream)):
                unpacked += len(chunk)
                first.put(chunk)
                if self._name != "none":
                    digest.update(chunk)
        finally:
            first.put(b"")
            for thread in threads:
                thread.join()
        if self._failure:
            raise self._failure
        if not self._compressed:
            raise tar.TarError("the archive could not be compressed")
        if self._name == "none":
            digest = self.hash
        return unpacked, f"sha256:{digest.hexdigest()}"

    def _compress(
        self, raw: queue.Queue[bytes], packed: queue.Queue[bytes]
    ) -> None:
        compressor = compression.COMPRESSORS[self._name]()
        try:
            while chunk := raw.get():
                if data := compressor.compress(chunk):
                    packed.put(data)
            packed.put(compressor.flush())
            self._compressed = True
        finally:
            packed.put(b"")

    def _write(self, packed: queue.Queue[bytes]) -> None:
        while data := packed.get():
            if self._failure:
                continue  # what is left is taken, so that nobody waits
            try:
                view = memoryview(data)
                while view:
                    view = view[self._file.write(view) :]
            except OSError as error:  # raised by `run`
                self._failure = error
                continue
            self.hash.update(data)
            self.size += len(data)
            self._advanced(len(data))


def _filled(stream: IO[bytes]) -> bytes:
    """The next piece, whole except at the end."""
    parts = []
    left = CHUNK
    while left and (part := stream.read(left)):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
