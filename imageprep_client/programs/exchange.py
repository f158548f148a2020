"""Exchange data with a process within bounds of time and size."""

from __future__ import annotations

import os
import selectors
import subprocess
import time
from collections.abc import Callable

#: Bytes kept of one line of `Lines`; the rest of a longer line is dropped.
LINE = 1 << 16
# Seconds that other processes may keep the output open after the program
# has ended.
_LINGER = 2.0
_CHUNK = 1 << 16
#: Seconds between two calls of `watch`, at most.
_PERIOD = 0.5


class Ended(Exception):
    """A bound was exceeded; the process must be ended."""


class Lines:
    """Splits output into lines of bounded length."""

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
    watch: Callable[[], object] = lambda: None,
) -> None:
    """Exchange data with a process until it has ended.

    A process that it leaves behind with its output open is waited for only
    briefly.

    :param watch: is called at least twice a second while the process runs;
        an exception of it ends the exchange.
    :raises Ended: when the process takes longer than `timeout`.
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
            for key, _ in selector.select(_PERIOD):
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
            _check(end, timeout, watch)
            if ended is None and process.poll() is not None:
                ended = now
            if ended is not None and now > ended + _LINGER:
                break
    # It may have closed its output long before its end.
    while True:
        try:
            process.wait(_PERIOD)
        except subprocess.TimeoutExpired:
            _check(end, timeout, watch)
        else:
            return


def _check(
    end: float | None, timeout: float | None, watch: Callable[[], object]
) -> None:
    if end is not None and time.monotonic() > end:
        raise Ended(f"not done after {timeout:g} seconds")
    watch()


def _write(descriptor: int, data: memoryview) -> int:
    """Write some of the data; return its size if the reader is gone."""
    try:
        return os.write(descriptor, data[:_CHUNK])
    except BlockingIOError:
        return 0
    except BrokenPipeError:
        return len(data)
