"""Progress on stderr: a bar on a terminal, otherwise now and then a line."""

from __future__ import annotations

import contextlib
import io
import sys
import threading
import time
from collections.abc import Callable
from typing import Self, TextIO

from imageprep_client import errors
from imageprep_client.observer import ImageOutcome, Observer, Phase

_BAR = 24
_BAR_INTERVAL = 0.2
_LINE_INTERVAL = 5.0


class Progress(Observer):
    """Shows what a run does; use it as a context manager.

    :param stream: where to; stderr by default.
    :param terminal: whether to draw a bar; by default, whether the stream
        is a terminal.
    :param interval: seconds between lines, or between two drawings.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        terminal: bool | None = None,
        interval: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        # There is no sys.stderr for who starts this with it closed.
        self._stream = stream or sys.stderr or io.StringIO()
        self._terminal = (
            self._stream.isatty() if terminal is None else terminal
        )
        self._interval = interval or (
            _BAR_INTERVAL if self._terminal else _LINE_INTERVAL
        )
        self._clock = clock
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, daemon=True)
        self._started = clock()
        self._phase: Phase | None = None
        self._unit = ""
        self._total = 0
        self._done = 0
        self._expected = 0
        self._copied = 0
        self._retried: set[tuple[str, int]] = set()

    def phase(self, phase: Phase, total: int) -> None:
        with self._lock:
            self._phase = phase
            # A copy counts its images over all its phases.
            if phase is Phase.RESOLVE or not phase.copies:
                self._unit, self._total, self._done = phase.unit, total, 0
            if phase in (Phase.BLOBS, Phase.HASH):
                self._started = self._clock()

    def advanced(self, phase: Phase) -> None:
        with self._lock:
            if phase is self._phase:
                self._done += 1

    def image_finished(self, image: str, outcome: ImageOutcome) -> None:
        with self._lock:
            self._done += 1

    def bytes_expected(self, count: int) -> None:
        with self._lock:
            self._expected += count

    def bytes_copied(self, count: int) -> None:
        with self._lock:
            self._copied += count

    def retrying(self, what: str, attempt: int, seconds: float) -> None:
        # A registry that does not answer is waited for by all threads.
        with self._lock:
            told = (what, attempt) in self._retried
            self._retried.add((what, attempt))
        if not told:
            self._say(f"{what}; attempt {attempt + 1} in {seconds:.0f} s")

    def waiting(self, what: str) -> None:
        self._say(f"waiting: {what}")

    def note(self, text: str) -> None:
        self._say(text)

    def warning(self, text: str) -> None:
        self._say(f"WARNING: {text}")

    def __enter__(self) -> Self:
        self._ticker.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._ticker.join()
        if self._terminal and self._total:
            self._write("\r\x1b[K")

    def _tick(self) -> None:
        while not self._over.wait(self._interval):
            with self._lock:
                if self._total:
                    self._draw(self.line())

    def line(self) -> str:
        """How far the run is, in a line."""
        title = self._phase.title if self._phase else ""
        parts = [f"{title}: {self._done}/{self._total} {self._unit}"]
        if self._expected:
            parts.append(f"{size(self._copied)} of {size(self._expected)}")
            seconds = self._clock() - self._started
            rate = self._copied / seconds if seconds > 0 else 0.0
            if rate > 0:
                parts.append(f"{size(int(rate))}/s")
                left = max(0, self._expected - self._copied) / rate
                parts.append(f"{left:.0f} s left")
        return ", ".join(parts)

    def _draw(self, line: str) -> None:
        if not self._terminal:
            self._write(f"{line}\n")
        else:
            whole = self._expected or 1
            filled = min(_BAR, _BAR * self._copied // whole)
            bar = "#" * filled + "-" * (_BAR - filled)
            self._write(f"\r\x1b[K[{bar}] {line}")

    def _say(self, text: str) -> None:
        with self._lock:
            start = "\r\x1b[K" if self._terminal else ""
            self._write(f"{start}{errors.printable(text)}\n")

    def _write(self, text: str) -> None:
        # A terminal that was closed, or a full disk under a log, must not
        # end what is going on.
        with contextlib.suppress(OSError):
            self._stream.write(text)
            self._stream.flush()


def size(count: int) -> str:
    """Bytes as a person reads them, in powers of ten."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} TB"
