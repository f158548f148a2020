"""Reads files of an ext file system by ``debugfs``; nothing is mounted.

Files are named by inode, so that no name in the file system becomes an
argument of a command.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from imageprep_client.programs import confined
from imageprep_client.programs.entries import FileEntry, kind_of
from imageprep_client.programs.process import raise_full

_PACKAGE = "e2fsprogs"
# As ls -p has it: inode, mode, user, group, name, size.
_ENTRY = re.compile(rb"(?m)^/(\d+)/(\d+)/\d+/\d+/([^/]*)/(\d*)/$")
_FAST_LINK = re.compile(rb'(?m)^Fast link dest: "(.*)"$')
_BANNER = re.compile(r"debugfs \d\S* \(.*\)\n?")
_ROOT = 2


class ExtReader:
    """One file system; see `baremetal.disks.filetree.Reader`.

    :param path: the file that it is in.
    """

    root = _ROOT

    def __init__(self, path: Path) -> None:
        self._path = path

    def entries(self, inode: int) -> Mapping[str, FileEntry]:
        listing = self._run(f"ls -p <{inode}>")
        return {
            name.decode(errors="surrogateescape"): FileEntry(
                int(number), kind_of(int(mode, 8)), int(size or 0)
            )
            for number, mode, name, size in _ENTRY.findall(listing)
            if number != b"0"
        }

    def link(self, inode: int) -> str:
        fast = _FAST_LINK.search(self._run(f"stat <{inode}>"))
        target = fast[1] if fast else self.read(inode, confined.MIB)
        return target.decode(errors="surrogateescape")

    def read(self, inode: int, limit: int) -> bytes:
        return self._run(f"cat <{inode}>", limit)

    def save(self, inode: int, destination: Path, limit: int) -> None:
        self._run(f"cat <{inode}>", limit, destination)

    def _run(
        self,
        command: str,
        limit: int = 4 * confined.MIB,
        destination: Path | None = None,
    ) -> bytes:
        output = confined.run(
            # -c leaves the bitmaps unread: they do not matter here.
            ["debugfs", "-c", "-R", command, str(self._path.absolute())],
            confined.Limits(written=limit, seconds=30),
            package=_PACKAGE,
            destination=destination,
        )
        # The exit status is 0 whatever happens.
        told = _BANNER.sub("", output.stderr).strip()
        if told:
            raise_full(told)
            raise confined.ProgramFailed(f"debugfs: {told[:200]}")
        return output.stdout
