"""What goes to a process and comes from it, without waiting for ever."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable

#: Bytes of one line of `Lines`; the rest of a longer one is lost.
LINE = 1 << 16
# Seconds that other processes may keep the output open after the program's
# own end.
_LINGER = 2.0
_CHUNK = 1 << 16


class Ended(Exception):
    """A reason of ours to end a process."""


class Lines:
    """Cuts output into lines of bounded length."""

    def __init__(self, on_line: Callable[[str], None]) -> None:
        self._on_line = on_line
        self._begun = b""

    def take(self, data: bytes) -> None:
        *lines, begun = data.split(b"\n")
        for line in lines:
            self._tell(self._begun + line)
            self._begun = b""
        self._begun = (self._begun + begun)[:LINE]

    def end(self) -> None:
        if self._begun:
            self._tell(self._begun)

    def _tell(self, line: bytes) -> None:
        text = line[:LINE].decode(errors="replace")
        self._on_line(text.removesuffix("\r"))


def communicate(
    process: subprocess.Popen[bytes],
    stdin: bytes | None,
    on_output: Callable[[bytes], None],
    on_complaint: Callable[[bytes], None],
    timeout: float | None,
) -> None:
    """Exchange with a process until it has ended.

    Whoever it leaves behind with its output open is waited for only briefly.
    """
    end = None if timeout is None else time.monotonic() + timeout
    left = memoryview(stdin or b"")
    ended: float | None = None
    with selectors.DefaultSelector() as selector:
        for stream, take in (
            (process.stdout, on_output),
            (process.stderr, on_complaint),
        ):
            assert stream is not None  # noqa: S101 - for the type
            selector.register(stream, selectors.EVENT_READ, take)
        source = process.stdin
        if source is not None:
            os.set_blocking(source.fileno(), False)
            selector.register(source, selectors.EVENT_WRITE)
        while selector.get_map():
            for key, _ in selector.select(0.5):
                if source is not None and key.fileobj is source:
                    left = left[_write(key.fd, left) :]
                    if not left:
                        selector.unregister(source)
                        source.close()
                elif data := os.read(key.fd, _CHUNK):
                    key.data(data)
                else:
                    selector.unregister(key.fileobj)
            now = time.monotonic()
            if end is not None and now > end:
                raise Ended(f"not done after {timeout:g} seconds")
            if ended is None and process.poll() is not None:
                ended = now
            if ended is not None and now > ended + _LINGER:
                break
    try:
        process.wait(None if end is None else max(end - time.monotonic(), 0))
    except subprocess.TimeoutExpired:
        raise Ended(f"not done after {timeout:g} seconds") from None


def _write(descriptor: int, data: memoryview) -> int:
    """Write some of the data; all of it counts when nobody reads it."""
    try:
        return os.write(descriptor, data[:_CHUNK])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)
