"""Progress on a terminal, and lines without one."""

from __future__ import annotations

import io
import logging

import pyte
import pytest

from imageprep_client.cli import progress
from imageprep_client.observer import ImageOutcome, Phase

MIB = 1024 * 1024


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Terminal(io.StringIO):
    """A terminal of this width, as a person sees it."""

    def __init__(self, columns: int = 80) -> None:
        super().__init__()
        self.screen = pyte.Screen(columns, 24)
        self._stream = pyte.Stream(self.screen)

    @property
    def encoding(self) -> str:  # type: ignore[override] # io has no setter
        return "utf-8"

    def write(self, text: str) -> int:
        # The terminal's driver makes CR LF of a line feed.
        self._stream.feed(text.replace("\n", "\r\n"))
        return len(text)

    @property
    def shown(self) -> list[str]:
        """The lines that have anything."""
        return [line.rstrip() for line in self.screen.display if line.strip()]


def half_way(shown: progress.Progress, clock: Clock) -> None:
    shown.phase(Phase.RESOLVE, 86)
    shown.phase(Phase.BLOBS, 10)
    shown.bytes_expected(732 * MIB)
    clock.now += 10
    shown.bytes_copied(366 * MIB)
    shown.image_finished("a", ImageOutcome.PRESENT)


def draw(shown: progress.Progress) -> None:
    """Draw now; otherwise a thread does it now and then."""
    shown._live.refresh()


@pytest.fixture
def terminal(request, monkeypatch) -> Terminal:
    """A terminal; its size is a parameter."""
    columns = getattr(request, "param", 80)
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setenv("TERM", "xterm")
    return Terminal(columns)


def test_line_says_images_bytes_rate_and_time_left():
    """The line has all that a waiting operator asks for."""
    clock = Clock()
    shown = progress.Progress(io.StringIO(), terminal=False, clock=clock)
    half_way(shown, clock)
    assert shown.line() == (
        "blobs 1/86 images  366.0 MiB of 732.0 MiB  36.6 MiB/s  10 s left"
    )


def test_rate_of_the_last_blobs():
    """Bytes that travelled before they began do not count for their time."""
    clock = Clock()
    shown = progress.Progress(io.StringIO(), terminal=False, clock=clock)
    half_way(shown, clock)
    shown.phase(Phase.BLOBS, 1)
    clock.now += 1
    shown.bytes_copied(6 * MIB)
    assert shown.line().endswith("  6.0 MiB/s  60 s left")


def test_line_before_anything_moved():
    """Nothing is divided by zero before the first byte."""
    shown = progress.Progress(io.StringIO(), terminal=False, clock=Clock())
    shown.phase(Phase.RESOLVE, 3)
    assert shown.line() == "resolve 0/3 images"
    shown.bytes_expected(5)
    assert shown.line() == "resolve 0/3 images  0 B of 5 B"


def test_estimate_ends_at_zero():
    """Bytes that never travelled are not waited for after the blobs."""
    clock = Clock()
    shown = progress.Progress(io.StringIO(), terminal=False, clock=clock)
    half_way(shown, clock)
    shown.phase(Phase.MANIFESTS, 86)
    assert shown.line().endswith("  0 s left")


@pytest.mark.parametrize("terminal", [20, 40, 80, 200], indirect=True)
def test_one_line_at_any_width(terminal):
    """Whatever the width, progress is one line."""
    clock = Clock()
    with progress.Progress(terminal, terminal=True, clock=clock) as shown:
        half_way(shown, clock)
        for _ in range(3):
            draw(shown)
        (line,) = terminal.shown
        assert "blobs 1/86 images" in line


def test_terminal_is_left_clean(terminal):
    """At the end nothing of the progress is left."""
    clock = Clock()
    with progress.Progress(terminal, terminal=True, clock=clock) as shown:
        half_way(shown, clock)
        draw(shown)
        assert terminal.shown
    assert not terminal.shown


def test_messages_are_above_the_line(terminal):
    """A message during the work stays, and the line is below it."""
    clock = Clock()
    with progress.Progress(terminal, terminal=True, clock=clock) as shown:
        half_way(shown, clock)
        draw(shown)
        shown.warning("[bold]mind[/bold] :smile: 1")
        draw(shown)
        first, line = terminal.shown
    assert first == "WARNING: [bold]mind[/bold] :smile: 1"
    assert "blobs" in line
    assert terminal.shown == [first]


def test_log_lines_are_above_the_line(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shell's log lines on the terminal, with -v, are not drawn over."""
    handler = logging.StreamHandler(terminal)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    clock = Clock()
    with progress.Progress(terminal, terminal=True, clock=clock) as shown:
        half_way(shown, clock)
        draw(shown)
        logging.getLogger().warning("one")
        logging.getLogger().warning("two")
        draw(shown)
        first, second, line = terminal.shown
        assert "blobs" in line
    assert [first, second] == ["one", "two"]
    assert handler.stream is terminal
    assert terminal.shown == ["one", "two"]


def test_nothing_is_drawn_without_a_terminal():
    """A log file has no progress in it."""
    stream = io.StringIO()
    clock = Clock()
    with progress.Progress(stream, clock=clock) as shown:
        half_way(shown, clock)
    assert stream.getvalue() == ""


def test_nothing_is_drawn_without_images(terminal):
    """A run that copies nothing shows no progress."""
    with progress.Progress(terminal, terminal=True) as shown:
        draw(shown)
        assert not terminal.shown


def test_what_users_should_know_is_said_at_once():
    """Warnings, notes, waits and retries are lines of their own."""
    stream = io.StringIO()
    shown = progress.Progress(stream, terminal=False)
    shown.warning("w")
    shown.note("n")
    shown.waiting("for pid 7")
    shown.retrying("GET https://r/v2/: 503", 1, 2.4, 12)
    assert stream.getvalue() == (
        "WARNING: w\nn\nwaiting: for pid 7\n"
        "GET https://r/v2/: 503; attempt 2 of 12 in 2 s\n"
    )


def test_a_retry_is_told_once() -> None:
    """All threads wait for the same registry; one line is enough."""
    stream = io.StringIO()
    shown = progress.Progress(stream)
    for attempt in (1, 1, 2, 2):
        for name in ("a", "b"):
            what = f"GET https://quay.io/v2/{name}/manifests/1: 503"
            shown.retrying(what, attempt, 1.0, 5)

    assert stream.getvalue() == (
        "GET https://quay.io/v2/a/manifests/1: 503; attempt 2 of 5 in 1 s\n"
        "GET https://quay.io/v2/a/manifests/1: 503; attempt 3 of 5 in 1 s\n"
    )


def test_closed_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that closed stderr gets no messages, and no error."""
    monkeypatch.setattr("sys.stderr", None)
    with progress.Progress() as shown:
        shown.warning("x")


@pytest.mark.parametrize("terminal", [False, True])
def test_stream_that_is_gone(terminal: bool) -> None:
    """A run goes on although nobody can be told about it any more."""

    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(32, "Broken pipe")

    shown = progress.Progress(Gone(), terminal=terminal)
    with shown:
        shown.phase(Phase.RESOLVE, 1)
        shown.warning("x")


@pytest.mark.parametrize(
    "phase", [phase for phase in Phase if phase is not Phase.RESOLVE]
)
def test_each_phase_counts_its_own_unit(phase: Phase) -> None:
    """No phase shows the numbers of another one."""
    shown = progress.Progress(io.StringIO(), terminal=False, clock=Clock())
    shown.phase(Phase.RESOLVE, 2)
    shown.image_finished("a", ImageOutcome.COPIED)
    shown.image_finished("b", ImageOutcome.COPIED)
    shown.phase(phase, 3)
    if not phase.copies:
        shown.advanced(phase)
    done, total, unit = (
        (2, 2, "images") if phase.copies else (1, 3, phase.unit)
    )
    assert shown.line() == f"{phase.title} {done}/{total} {unit}"


def test_control_characters():
    """A name of somebody else's does not control the terminal."""
    stream = io.StringIO()
    progress.Progress(stream, terminal=False).note("a\x1b[2J\nb")
    assert stream.getvalue() == "a\\x1b[2J\\nb\n"
