"""Progress lines and bars."""

from __future__ import annotations

import io
import threading

import pytest

from imageprep_client.cli import progress
from imageprep_client.observer import ImageOutcome, Phase


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Waited(io.StringIO):
    """A stream that tells when something was written."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.written.set()
        return count


def half_way(shown: progress.Progress, clock: Clock) -> None:
    shown.phase(Phase.RESOLVE, 86)
    shown.phase(Phase.BLOBS, 10)
    shown.bytes_expected(732_000_000)
    clock.now += 10
    shown.bytes_copied(366_000_000)
    shown.image_finished("a", ImageOutcome.PRESENT)


def test_line_says_images_bytes_rate_and_time_left():
    """The line has all that a waiting operator asks for."""
    clock = Clock()
    shown = progress.Progress(io.StringIO(), terminal=False, clock=clock)
    half_way(shown, clock)
    assert shown.line() == (
        "blobs: 1/86 images, 366.0 MB of 732.0 MB, 36.6 MB/s, 10 s left"
    )


def test_line_before_anything_moved():
    """Nothing is divided by zero before the first byte."""
    shown = progress.Progress(io.StringIO(), terminal=False, clock=Clock())
    shown.phase(Phase.RESOLVE, 3)
    assert shown.line() == "resolve: 0/3 images"
    shown.bytes_expected(5)
    assert shown.line() == "resolve: 0/3 images, 0 B of 5 B"


@pytest.mark.parametrize("terminal", [False, True])
def test_it_is_drawn_now_and_then(terminal):
    """Lines without a terminal; on one, a bar that is wiped at the end."""
    stream = Waited()
    clock = Clock()
    with progress.Progress(
        stream, terminal=terminal, interval=0.01, clock=clock
    ) as shown:
        half_way(shown, clock)
        assert stream.written.wait(10)
    text = stream.getvalue()
    assert "1/86 images" in text
    assert ("[############------------]" in text) == terminal
    assert text.endswith("\r\x1b[K" if terminal else "left\n")


def test_nothing_is_drawn_without_images():
    """A run that copies nothing shows no progress."""
    stream = io.StringIO()
    with progress.Progress(stream, terminal=True):
        pass
    assert stream.getvalue() == ""


def test_what_users_should_know_is_said_at_once():
    """Warnings, notes, waits and retries are lines of their own."""
    stream = io.StringIO()
    shown = progress.Progress(stream, terminal=False)
    shown.warning("w")
    shown.note("n")
    shown.waiting("for pid 7")
    shown.retrying("GET https://r/v2/", 1, 2.4)
    assert stream.getvalue() == (
        "WARNING: w\nn\nwaiting: for pid 7\n"
        "GET https://r/v2/; attempt 2 in 2 s\n"
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (10_200_000_000, "10.2 GB"),
        (2_500_000_000_000, "2.5 TB"),
    ],
)
def test_size(count, text):
    """Sizes are in powers of ten."""
    assert progress.size(count) == text


def test_a_retry_is_told_once() -> None:
    """All threads wait for the same registry; one line is enough."""
    stream = io.StringIO()
    shown = progress.Progress(stream)
    for attempt in (1, 1, 2, 2):
        shown.retrying("quay.io", attempt, 1.0)

    assert stream.getvalue() == (
        "quay.io; attempt 2 in 1 s\nquay.io; attempt 3 in 1 s\n"
    )


def test_closed_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who closes stderr does not want to know."""
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
    assert shown.line() == f"{phase.title}: {done}/{total} {unit}"


def test_control_characters():
    """A name of somebody else's does not control the terminal."""
    stream = io.StringIO()
    progress.Progress(stream, terminal=False).note("a\x1b[2J\nb")
    assert stream.getvalue() == "a\\x1b[2J\\nb\n"
