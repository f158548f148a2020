"""Unpacking with GNU tar where only the target can be written to."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from imageprep_client.programs.process import raise_full
from imageprep_client.programs.tar import closed
from imageprep_client.programs.tar.process import (
    FAITHFUL,
    TarError,
    TarProcess,
)

_OPTIONS = (
    "--extract",
    "--file=-",
    "--preserve-permissions",
    "--same-owner",
    # Some members of a directory come long after it.
    "--delay-directory-restore",
    *FAITHFUL,
    # They say nothing of content that is lost.
    "--warning=no-timestamp",
    "--warning=no-unknown-keyword",
)


@contextlib.contextmanager
def unpacking(directory: Path) -> Iterator[IO[bytes]]:
    """Unpack what is written to a stream, as root.

    GNU tar runs in mount, network and IPC namespaces of its own, where all
    but `directory` is read-only. Any message of it is a failure, because it
    only warns of attributes that the file system cannot store.

    :param directory: empty; nobody else can reach it.
    :raises TarError: at the end of the block, when tar failed; what is
        unpacked by then stays.
    :raises OSError: likewise, when the file system is full.
    """
    process = TarProcess(
        [
            *(sys.executable, "-I", "-S", closed.__file__, str(directory)),
            *("tar", *_OPTIONS),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    try:
        try:
            yield process.stdin
            process.stdin.close()
        except BrokenPipeError:
            # tar says why it ended.
            pass
        status = process.wait()
    finally:
        process.end()
    if status or process.lines:
        told = "; ".join(process.lines[:3]) or f"ended with status {status}"
        raise_full(told)
        raise TarError(f"tar: {told}")
