"""Reads files of an XFS file system that is in a file; nothing is mounted."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs import confined
from imageprep_client.programs.entries import FileEntry, kind_of

_LIBRARY = "pyfsxfs"
_CHILD = Path(__file__).with_name("child.py")
_MEMORY = 512 * confined.MIB


class XfsReader:
    """One file system; see `baremetal.disks.filetree.Reader`.

    :param path: the file that it is in.
    :raises InvalidArgument: when the library is not installed.
    """

    root = 0

    def __init__(self, path: Path) -> None:
        self._path = path
        spec = importlib.util.find_spec(_LIBRARY)
        if spec is None or spec.origin is None:
            raise errors.InvalidArgument(
                "XFS cannot be read without libfsxfs",
                hint="install imageprep-client[baremetal]",
            )
        self._library = os.path.dirname(spec.origin)

    def entries(self, inode: int) -> Mapping[str, FileEntry]:
        entries = {}
        for record in self._run("list", inode).split(b"\0"):
            if record:
                number, mode, size, name = record.split(b" ", 3)
                entries[name.decode(errors="surrogateescape")] = FileEntry(
                    int(number), kind_of(int(mode)), int(size)
                )
        return entries

    def link(self, inode: int) -> str:
        return self._run("link", inode).decode(errors="surrogateescape")

    def read(self, inode: int, limit: int) -> bytes:
        return self._run("read", inode, limit)

    def save(self, inode: int, destination: Path, limit: int) -> None:
        self._run("read", inode, limit, destination)

    def _run(
        self,
        command: str,
        inode: int,
        limit: int = 4 * confined.MIB,
        destination: Path | None = None,
    ) -> bytes:
        words = [
            *(sys.executable, "-I", "-S", str(_CHILD), self._library),
            *(str(self._path.absolute()), command),
            str(inode) if inode else "root",
        ]
        return confined.run(
            words,
            confined.Limits(memory=_MEMORY, written=limit, seconds=30),
            package="python3",
            destination=destination,
        ).stdout
