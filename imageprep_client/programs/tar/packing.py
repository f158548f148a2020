"""Packing a root with GNU tar: the same bytes for the same root."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from imageprep_client.programs.process import raise_full
from imageprep_client.programs.tar.process import (
    FAITHFUL,
    TarError,
    TarProcess,
)

#: The name that changed copies of files have until they are renamed.
_COPIES = ".image-prepare-copies"
_OPTIONS = (
    "--create",
    "--file=-",
    "--blocking-factor=512",
    "--format=posix",
    # Without times of access and fractions of seconds, and without the
    # number of the process, there is nothing in it but the root.
    "--pax-option=exthdr.name=%d/PaxHeaders/%f,"
    "delete=atime,delete=ctime,delete=mtime",
    "--sort=name",
    *FAITHFUL,
    "--anchored",
    "--no-wildcards",
    f"--transform=flags=r;s,^{_COPIES}/,./,",
)
_CHANGED = ("file changed as we read it", "File removed before we read it")
_SOCKET = "socket ignored"
#: The last bytes that a file system had room for.
_CUT = ": Wrote only "


class Packing:
    """A running GNU tar.

    :ivar changed: messages about files that changed meanwhile; known at the
        end.
    :ivar sockets: how many were left out; known at the end.
    """

    def __init__(self, process: TarProcess) -> None:
        self._process = process
        self.changed: list[str] = []
        self.sockets = 0

    @property
    def stdout(self) -> IO[bytes]:
        """The archive, unless it is written to a file."""
        return self._process.stdout

    def has_ended(self) -> bool:
        """Whether nothing more is written."""
        return self._process.has_ended()

    def finish(self) -> None:
        """Check the result, after the archive has been read.

        :raises TarError: if tar failed.
        :raises OSError: if there is no room for the archive.
        """
        status = self._process.wait()
        failed = []
        for line in self._process.lines:
            if any(text in line for text in _CHANGED):
                self.changed.append(line)
            elif line.endswith(_SOCKET):
                self.sockets += 1
            elif not line.startswith("Exiting with failure status"):
                failed.append(line)
        if status > 1 or status < 0 or failed:
            told = "; ".join(failed[:3]) or f"ended with status {status}"
            if _CUT in told:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            raise_full(told)
            raise TarError(f"tar: {told}")


@contextlib.contextmanager
def packing(
    root: Path,
    *,
    excluded: Sequence[str] = (),
    copies: Path | None = None,
    output: int | None = None,
) -> Iterator[Packing]:
    """Pack a directory; the archive is the output of the process.

    :param excluded: paths relative to the root, with all that is below them.
    :param copies: a directory whose only entry, made by `copies_in`, has what
        is packed in place of what is excluded.
    :param output: the descriptor of a file for the archive, in place of the
        output of the process.
    """
    words = [
        *("tar", *_OPTIONS),
        *(f"--exclude=./{path}" for path in excluded),
        *("-C", str(root), "."),
    ]
    if copies is not None:
        top = copies_in(copies)
        paths = _members(top, frozenset(excluded))
        words += ["-C", str(copies), *(f"{_COPIES}/{path}" for path in paths)]
    if output is None:
        output = subprocess.PIPE
    process = TarProcess(words, stdin=subprocess.DEVNULL, stdout=output)
    try:
        yield Packing(process)
    finally:
        process.end()


def copies_in(directory: Path) -> Path:
    """Where the copies are in their directory: at their paths in the root."""
    return directory / _COPIES


def _members(top: Path, wanted: frozenset[str]) -> list[str]:
    """The paths that are packed from the copies."""
    return sorted(path for path in wanted if (top / path).exists())
