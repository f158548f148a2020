"""Read a disk with ``qemu-img``, which is always given the format."""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs import confined

_PACKAGE = "qemu-utils (Debian) or qemu-img (Fedora, CentOS)"
#: Metadata is never larger than this.
_MAX_READ = 32 * confined.MIB
_EDGE = 64 * 1024
#: qemu-img reads whole sectors of this size.
_SECTOR = 512
# The name that it gives to a file that it could not open.
_NAME = re.compile(r"'json:\{.*?\}'")
#: Bytes a second that even a slow disk gives.
_SLOWEST = 20 * confined.MIB
_MEMORY = 2048 * confined.MIB


class QemuDisk:
    """The disk in an open image file; see `baremetal.disks.disk.Disk`.

    :param descriptor: of the file. The program opens it again through
        ``/proc``: it is the file that was inspected, whatever the path
        names meanwhile.
    :param format: ``raw`` or ``qcow2``.
    :param size: of the disk.
    """

    def __init__(
        self, descriptor: int, path: str, format: str, size: int
    ) -> None:
        self.path = path
        self.size = size
        self._descriptor = descriptor
        self._format = format
        # Most of what is read of a disk is near its ends.
        self._edges: dict[int, bytes] = {}

    def read(self, extents: Sequence[tuple[int, int]]) -> bytes:
        pieces = [self._edge(offset, size) for offset, size in extents]
        if all(piece is not None for piece in pieces):
            return b"".join(filter(None, pieces))
        return self._read(extents)

    def _edge(self, offset: int, size: int) -> bytes | None:
        """A piece that is near the beginning or the end of the disk."""
        if not self._edges:
            length = min(_EDGE, self.size)
            starts = (0, self.size - length)
            both = self._read([(start, length) for start in starts])
            self._edges = dict(
                zip(starts, (both[:length], both[length:]), strict=False)
            )
        for start, content in self._edges.items():
            if start <= offset and offset + size <= start + len(content):
                return content[offset - start : offset - start + size]
        return None

    def _read(self, extents: Sequence[tuple[int, int]]) -> bytes:
        if sum(size for _, size in extents) > _MAX_READ:
            raise errors.InvalidFile(self.path, "has metadata without end")
        if self._format == "raw":
            return b"".join(
                os.pread(self._descriptor, size, offset)
                for offset, size in extents
            )
        aligned = []
        for offset, size in extents:
            start = offset // _SECTOR * _SECTOR
            end = -(-(offset + size) // _SECTOR) * _SECTOR
            aligned.append((start, end - start))
        with tempfile.TemporaryDirectory(prefix="imageprep-") as directory:
            destination = Path(directory) / "extents"
            self.save(aligned, destination)
            content = destination.read_bytes()
        pieces = []
        at = 0
        for (offset, size), (start, length) in zip(
            extents, aligned, strict=True
        ):
            begin = at + offset - start
            pieces.append(content[begin : begin + size])
            at += length
        return b"".join(pieces)

    def save(
        self, extents: Sequence[tuple[int, int]], destination: Path
    ) -> None:
        whole = sum(size for _, size in extents)
        self._run(
            *("convert", "-O", "raw", "-W"),
            *(self._slice(offset, size) for offset, size in extents),
            str(destination.absolute()),
            written=whole,
        )
        if destination.stat().st_size != whole:
            raise errors.InvalidFile(
                self.path,
                f"gave {destination.stat().st_size} of {whole} bytes",
            )

    def check(self) -> None:
        """Check that the file has all clusters that qcow2 tables refer to."""
        if self._format == "raw":
            return
        try:
            self._run("check", "-q", "-f", self._format, self._file())
        except errors.InvalidFile as error:
            error.hint = f"look at: qemu-img check -f {self._format}"
            raise

    def _run(self, *words: str, written: int = confined.MIB) -> None:
        limits = confined.Limits(
            seconds=30 + self.size // _SLOWEST,
            memory=_MEMORY,
            written=max(written, confined.MIB),
        )
        try:
            confined.run(
                ["qemu-img", *words],
                limits,
                package=_PACKAGE,
                files=[self._descriptor],
            )
        except (confined.Exceeded, confined.ProgramFailed) as error:
            told = _NAME.sub("it", str(error)).replace(self._file(), self.path)
            raise errors.InvalidFile(
                self.path, f"cannot be read: {told}"
            ) from error

    def _file(self) -> str:
        return f"/proc/self/fd/{self._descriptor}"

    def _slice(self, offset: int, size: int) -> str:
        """A part of the disk, as qemu names it."""
        image = {
            "driver": self._format,
            "file": {
                "driver": "file",
                "filename": self._file(),
                "read-only": True,
            },
            "read-only": True,
        }
        part = {"driver": "raw", "offset": offset, "size": size, "file": image}
        return f"json:{json.dumps(part)}"
