"""Archives unpacked as root, from anywhere."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

from imageprep_client import errors
from imageprep_client.machine.archives import compression
from imageprep_client.machine.archives.judging import (
    BadArchive,
    Judge,
    UnpackedRoot,
    UnpackLimits,
)
from imageprep_client.programs import tar

__all__ = ["BadArchive", "UnpackLimits", "UnpackedRoot", "unpack"]

#: Pieces of content that are kept for the next step.
_AHEAD = 4


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def unpack(
    source: _Readable,
    directory: Path,
    *,
    name: str,
    place: Path | None = None,
    limits: UnpackLimits | None = None,
    declared: frozenset[str] = frozenset(),
) -> UnpackedRoot:
    """Unpack an archive, compressed or not, into an empty directory.

    Every member is judged before it is passed to GNU tar, which can write to
    nothing but `directory`. The first unacceptable member ends the unpacking;
    the caller then removes the directory.

    :param source: the content, verified; read to its end.
    :param directory: empty, in a directory that only root can enter.
    :param name: the archive, for messages.
    :param place: where the root will be, for messages.
    :param limits: by default also the room of the file system.
    :param declared: paths that may have set-id bits or capabilities, beside
        the programs of distributions.
    :raises BadArchive: when a member may not be unpacked.
    :raises TarError: when tar fails, or the file system cannot keep what a
        member has.
    :raises OSError: when the file system is full.
    """
    limits = limits or UnpackLimits()
    room = os.statvfs(directory)
    # Some file systems have no bound, and say so with zeros.
    free = room.f_bavail * room.f_frsize if room.f_blocks else limits.size
    bounded = dataclasses.replace(limits, size=min(limits.size, free))
    judge = Judge(name, bounded, declared)
    try:
        with (
            tar.unpacking(directory) as stream,
            contextlib.closing(_pieces(source, name)) as pieces,
        ):
            _pass_on(pieces, judge, stream.fileno())
    except BadArchive as error:
        if judge.judged.size > free:
            raise errors.NoSpace(
                f"{place or directory}: {free} bytes are free, and {name}"
                " needs more",
                free=free,
                hint="free some space, or keep the machine elsewhere",
            ) from error
        raise
    return judge.judged


def _pass_on(pieces: Iterator[bytes], judge: Judge, pipe: int) -> None:
    for piece in pieces:
        for part in judge.feed(piece):
            view = part
            while view:
                view = view[os.write(pipe, view) :]
    judge.finish()


def _pieces(source: _Readable, name: str) -> Generator[bytes]:
    """The decompressed content; another thread reads ahead."""
    ahead: queue.Queue[bytes | BaseException | None] = queue.Queue(_AHEAD)
    stopped = threading.Event()

    def chunks() -> Iterator[bytes]:
        while not stopped.is_set() and (
            chunk := source.read(compression.CHUNK)
        ):
            yield chunk

    def read() -> None:
        last: BaseException | None = None
        try:
            for piece in compression.decompressed(chunks(), name):
                ahead.put(piece)
        except BaseException as error:  # raised in the other thread
            last = error
        ahead.put(last)

    reader = threading.Thread(target=read, name="unpack")
    reader.start()
    try:
        while isinstance(piece := ahead.get(), bytes):
            yield piece
        if piece is not None:
            raise piece
    finally:
        stopped.set()
        while reader.is_alive():
            try:
                ahead.get(timeout=0.1)
            except queue.Empty:
                continue
