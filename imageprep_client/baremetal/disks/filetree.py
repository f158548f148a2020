"""Paths in a file system of a disk, resolved inside it and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from imageprep_client import errors
from imageprep_client.programs import confined
from imageprep_client.programs.entries import FileEntry

#: Bytes of a configuration file.
MAX_TEXT = 1024 * 1024
_MAX_LINKS = 40


class Reader(Protocol):
    """Reads a file system by inode."""

    @property
    def root(self) -> int: ...

    def entries(self, inode: int) -> Mapping[str, FileEntry]:
        """The names in a directory."""
        ...

    def link(self, inode: int) -> str:
        """The target of a symbolic link."""
        ...

    def read(self, inode: int, limit: int) -> bytes:
        """The content of a file, of `limit` bytes at most."""
        ...

    def save(self, inode: int, destination: Path, limit: int) -> None:
        """Write the content of a file to a new one."""
        ...


class FileTree:
    """A file system of a disk.

    Symbolic links and ``..`` lead nowhere outside: as for a process whose
    root directory it is.

    :param image: the image file, for messages.
    :param name: what messages call the file system.
    """

    def __init__(self, reader: Reader, image: str, name: str) -> None:
        self._reader = reader
        self._image = image
        self.name = name
        self._directories: dict[int, Mapping[str, FileEntry]] = {}

    def find(self, path: str) -> FileEntry | None:
        """The file behind a path, links followed; None when there is none."""
        return self._walk(path)[1]

    def real(self, path: str) -> str:
        """The path without links and ``..``; empty when there is none."""
        real, entry = self._walk(path)
        return real if entry else ""

    def names(self, path: str) -> Mapping[str, FileEntry]:
        """The entries of a directory; empty when there is none."""
        entry = self.find(path)
        if entry is None or entry.kind != "directory":
            return {}
        return {
            name: child
            for name, child in self._entries(entry.inode).items()
            if name not in (".", "..")
        }

    def text(self, path: str) -> str | None:
        """A configuration file; None when there is none.

        :raises InvalidFile: when it is larger than `MAX_TEXT`.
        """
        entry = self.find(path)
        if entry is None or entry.kind != "file":
            return None
        if entry.size > MAX_TEXT:
            raise self._wrong(f"{path} has {entry.size} bytes")
        try:
            content = self._reader.read(entry.inode, MAX_TEXT)
        except (confined.Exceeded, confined.ProgramFailed) as error:
            raise self._wrong(f"{path}: {error}") from error
        return content.decode(errors="replace")

    def save(self, path: str, destination: Path) -> None:
        """Write a file to a new file of this host.

        :raises InvalidFile: when there is none, or it cannot be read.
        """
        entry = self.find(path)
        if entry is None or entry.kind != "file":
            raise self._wrong(f"there is no file {path}")
        try:
            self._reader.save(entry.inode, destination, entry.size + 1)
        except (confined.Exceeded, confined.ProgramFailed) as error:
            raise self._wrong(f"{path}: {error}") from error
        if destination.stat().st_size != entry.size:
            raise self._wrong(f"{path} has not the {entry.size} bytes it says")

    def _walk(self, path: str) -> tuple[str, FileEntry | None]:
        root = FileEntry(self._reader.root, "directory", 0)
        at: list[tuple[str, FileEntry]] = [("", root)]
        waiting = path.split("/")[::-1]
        links = 0
        while waiting:
            name = waiting.pop()
            if name in ("", "."):
                continue
            if name == "..":
                at = at[: max(1, len(at) - 1)]
                continue
            here = at[-1][1]
            if here.kind != "directory":
                return "", None
            entry = self._entries(here.inode).get(name)
            if entry is None:
                return "", None
            if entry.kind != "link":
                at.append((name, entry))
                continue
            links += 1
            if links > _MAX_LINKS:
                raise self._wrong(f"{path}: too many symbolic links")
            target = self._link(entry.inode)
            if target.startswith("/"):
                at = at[:1]
            waiting += target.split("/")[::-1]
        return "/" + "/".join(name for name, _ in at[1:]), at[-1][1]

    def _entries(self, inode: int) -> Mapping[str, FileEntry]:
        if inode not in self._directories:
            try:
                self._directories[inode] = self._reader.entries(inode)
            except (confined.Exceeded, confined.ProgramFailed) as error:
                raise self._wrong(f"a directory: {error}") from error
        return self._directories[inode]

    def _link(self, inode: int) -> str:
        try:
            return self._reader.link(inode)
        except (confined.Exceeded, confined.ProgramFailed) as error:
            raise self._wrong(f"a symbolic link: {error}") from error

    def _wrong(self, problem: str) -> errors.InvalidFile:
        return errors.InvalidFile(self._image, problem, key=self.name)
