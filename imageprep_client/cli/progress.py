"""Progress on stderr: one line on a terminal, which is cleared at the end.

Warnings, notes and retries are lines of their own, on a terminal or not.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Self, TextIO

from imageprep_client import errors, wording
from imageprep_client.cli import log
from imageprep_client.observer import ImageOutcome, Observer, Phase

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

_BAR = 24
#: Lines of a terminal that are not for details.
_REST = 4
_PER_SECOND = 5
#: Phases of a copy after its last byte.
_AFTER_BYTES = (Phase.MANIFESTS, Phase.TAGS)


class Progress(Observer):
    """Shows the progress of a run; use it as a context manager.

    :param details: gives lines for a width and a height, which are shown
        above the line on a terminal.
    :param stream: where to; stderr by default.
    :param terminal: whether to draw; by default, whether the stream is a
        terminal.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        details: Callable[[int, int], list[str]] | None = None,
        terminal: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._details = details
        # sys.stderr is None when the caller closed it.
        stream = stream or sys.stderr or io.StringIO()
        self._terminal = stream.isatty() if terminal is None else terminal
        self._stream = _Lasting(stream)
        self._logs = _Redirected(stream, self._say)
        self._clock = clock
        self._lock = threading.Lock()
        self._live: Live | None = None
        self._started = clock()
        self._phase: Phase | None = None
        self._unit = ""
        self._total = 0
        self._done = 0
        self._expected = 0
        self._copied = self._earlier = 0
        self._retried: set[tuple[str, int]] = set()

    def phase(self, phase: Phase, total: int) -> None:
        with self._lock:
            self._phase = phase
            # A copy counts its images over all its phases.
            if phase is Phase.RESOLVE or not phase.copies:
                self._unit, self._total, self._done = phase.unit, total, 0
            if phase in (Phase.BLOBS, Phase.HASH):
                self._started, self._earlier = self._clock(), self._copied
            if phase in _AFTER_BYTES:
                # Blobs that failed, or were mounted, do not travel any more.
                self._expected = self._copied

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

    def retrying(
        self, what: str, attempt: int, seconds: float, limit: int
    ) -> None:
        # All threads wait for a registry that does not answer.
        key = (wording.cause(what), attempt)
        with self._lock:
            told = key in self._retried
            self._retried.add(key)
        if not told:
            self._say(
                f"{what}; attempt {attempt + 1} of {limit} in {seconds:.0f} s"
            )

    def waiting(self, what: str) -> None:
        self._say(f"waiting: {what}")

    def note(self, text: str) -> None:
        self._say(text)

    def warning(self, text: str) -> None:
        self._say(f"WARNING: {text}")

    def __enter__(self) -> Self:
        if self._terminal:
            # Not at the top: every `openstack` command would wait for it.
            from rich import console, live

            shown = console.Console(
                # It writes, flushes and asks for the encoding.
                file=self._stream,  # type: ignore[arg-type]
                force_terminal=True,
                highlight=False,
                markup=False,
                emoji=False,
            )
            self._live = live.Live(
                get_renderable=self._render,
                console=shown,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                refresh_per_second=_PER_SECOND,
            )
            self._live.start()
        self._logs.start(redirect=self._terminal)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._logs.stop()
        if self._live is not None:
            self._live.stop()
            self._live = None

    def line(self) -> str:
        """How far the run is, in a line."""
        return "  ".join(self._parts())

    def _parts(self) -> list[str]:
        """The parts of the line, the most important ones first."""
        if self._phase is None or not self._total:
            return []
        done = f"{min(self._done, self._total)}/{self._total}"
        parts = [f"{self._phase.title} {done} {self._unit}"]
        if not self._expected:
            return parts
        copied = min(self._copied, self._expected)
        parts.append(
            f"{wording.size(copied)} of {wording.size(self._expected)}"
        )
        seconds = self._clock() - self._started
        rate = (self._copied - self._earlier) / seconds if seconds > 0 else 0.0
        if rate > 0:
            left = (self._expected - copied) / rate
            parts.append(f"{wording.size(int(rate))}/s")
            parts.append(f"{left:.0f} s left")
        return parts

    def _render(self) -> RenderableType:
        """Lines that fit the terminal, whatever its size is now."""
        from rich import console, text

        if self._live is None or self._details is None:
            return self._bar()
        size = self._live.console.size
        lines = self._details(size.width - 1, size.height - _REST)
        return console.Group(
            *(
                text.Text(line, no_wrap=True, overflow="crop")
                for line in lines
            ),
            self._bar(),
        )

    def _bar(self) -> RenderableType:
        """One line that fits the terminal."""
        from rich import progress_bar, table, text

        if self._live is None:
            return text.Text("")
        with self._lock:
            parts = self._parts()
            total, done = self._expected, self._copied
            if not total:
                total, done = self._total, self._done
        # A terminal may break the line after its last column.
        width = self._live.console.width - 1
        while len(parts) > 1 and len("  ".join(parts)) > width:
            parts.pop()
        line = "  ".join(parts)
        shown = text.Text(line[: max(width, 0)], no_wrap=True, overflow="crop")
        bar = min(_BAR, width - len(line) - 2)
        if not parts or bar < _BAR // 4:
            return shown
        grid = table.Table.grid(padding=(0, 2, 0, 0))
        grid.add_row(
            progress_bar.ProgressBar(
                total=total, completed=min(done, total), width=bar
            ),
            shown,
        )
        return grid

    def _say(self, said: str) -> None:
        said = errors.printable(said)
        live = self._live
        if live is None:
            with self._lock:
                self._stream.write(f"{said}\n")
                self._stream.flush()
        else:
            # Above the line that is drawn.
            live.console.print(said, soft_wrap=True)


class _Lasting:
    """A stream whose failures are ignored.

    A terminal that was closed, or a full disk under a log, must not stop the
    command that reports to it.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write as far as that is possible."""
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush as far as that is possible."""
        with contextlib.suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


class _Redirected:
    """The log handlers of a stream, whose lines go elsewhere meanwhile.

    With ``-v`` the shell logs to the stream that progress is shown on. What
    both would show is left to progress.

    :param say: called with each line.
    """

    def __init__(self, stream: TextIO, say: Callable[[str], None]) -> None:
        self._stream = stream
        self._say = say
        self._pending = ""
        self._handlers: list[logging.StreamHandler[Any]] = []

    def start(self, *, redirect: bool) -> None:
        """Filter what the handlers of the stream write.

        :param redirect: whether to take the place of the stream as well.
        """
        for handler in logging.getLogger().handlers:
            if (
                isinstance(handler, logging.StreamHandler)
                and handler.stream is self._stream
            ):
                handler.addFilter(_is_not_shown)
                if redirect:
                    handler.setStream(self)
                self._handlers.append(handler)

    def stop(self) -> None:
        """Return the stream to the handlers."""
        for handler in self._handlers:
            handler.removeFilter(_is_not_shown)
            handler.setStream(self._stream)
        self._handlers.clear()

    def write(self, text: str) -> int:
        """Collect text until a line is complete."""
        *lines, self._pending = f"{self._pending}{text}".split("\n")
        for line in lines:
            self._say(line)
        return len(text)

    def flush(self) -> None:
        """Complete lines are shown at once; there is nothing to flush."""


def _is_not_shown(record: logging.LogRecord) -> bool:
    return not hasattr(record, log.SHOWN)
