"""The log of a run."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.cli import log, progress
from imageprep_client.observer import Observer, Phase
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

BLOB = Descriptor.of(b"abc", mediatypes.OCI_LAYER_GZIP)
EVENTS = {
    "phase": ((Phase.BLOBS, 3), "INFO phase blobs: 3 blobs"),
    "image_started": (("a:1",), "DEBUG a:1: started"),
    "image_finished": (("a:1", "copied"), "INFO a:1: copied"),
    "bytes_expected": ((7,), "INFO bytes to move: 7"),
    "blob_finished": (
        (BLOB, "mounted"),
        f"DEBUG {BLOB.digest}, 3 bytes: mounted",
    ),
    "retrying": (("x: y", 1, 2.0, 5), "INFO x: y; attempt 2 of 5 in 2.0 s"),
    "waiting": (("for it",), "INFO waiting: for it"),
    "note": (("so be it",), "INFO so be it"),
    "warning": (("mind",), "INFO warning: mind"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_event(tmp_path: Path, event: str) -> None:
    """Each event is a line with its time, and is passed on."""
    inner = mock.Mock(spec=Observer)
    arguments, line = EVENTS[event]
    with log.to_file(str(tmp_path / "log")):
        getattr(log.Log(inner), event)(*arguments)

    (written,) = (tmp_path / "log").read_text().splitlines()
    assert written.endswith(f" {line}")
    getattr(inner, event).assert_called_once_with(*arguments)


def test_bytes_are_not_logged(tmp_path: Path) -> None:
    """Each piece of a stream is passed on without a line of its own."""
    inner = mock.Mock(spec=Observer)
    with log.to_file(str(tmp_path / "log")):
        log.Log(inner).bytes_copied(1)

    assert not (tmp_path / "log").read_text()
    inner.bytes_copied.assert_called_once_with(1)


def test_appends(tmp_path: Path) -> None:
    """Earlier content of the file stays."""
    path = tmp_path / "log"
    path.write_text("old\n")
    with log.to_file(str(path)):
        log.Log(Observer()).waiting("x")

    assert path.read_text().startswith("old\n")


def test_no_file() -> None:
    """Without a file nothing is written anywhere."""
    with log.to_file(None):
        log.Log(Observer()).waiting("x")


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("no/file", "no such directory"),
        ("a\0b", "no file name"),
        (".", "is a directory"),
    ],
)
def test_not_writable(tmp_path: Path, name: str, problem: str) -> None:
    """A file that cannot be written is named."""
    path = str(tmp_path / name)
    with (
        pytest.raises(errors.InvalidFile, match=problem) as caught,
        log.to_file(path),
    ):
        pass  # pragma: no cover
    assert caught.value.path == path


def test_pipe(tmp_path: Path) -> None:
    """A named pipe, whose reader may never come, is refused at once."""
    os.mkfifo(tmp_path / "log")
    with (
        pytest.raises(errors.InvalidFile, match="is not a regular file"),
        log.to_file(str(tmp_path / "log")),
    ):
        pass  # pragma: no cover


def test_pipe_with_a_reader(tmp_path: Path) -> None:
    """So is one that somebody reads: who stops reading would stop the run."""
    os.mkfifo(tmp_path / "log")
    reader = os.open(tmp_path / "log", os.O_RDONLY | os.O_NONBLOCK)
    try:
        with (
            pytest.raises(errors.InvalidFile, match="is not a regular file"),
            log.to_file(str(tmp_path / "log")),
        ):
            pass  # pragma: no cover
    finally:
        os.close(reader)


def test_full_disk(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first record that does not fit is told, no traceback is printed,
    and what is logged goes on.
    """
    with log.to_file("/dev/full"):
        for number in range(3):
            log.Log(Observer()).waiting(f"x{number}")
    warnings = [r for r in caplog.records if r.levelname == "WARNING"]
    assert [record.getMessage() for record in warnings] == [
        "/dev/full: cannot be written: no space left on device; the log ends"
        " here and the command goes on"
    ]
    assert capfd.readouterr() == ("", "")


def test_control_characters(tmp_path: Path) -> None:
    """A name neither controls a terminal nor forges a line of the log."""
    with log.to_file(str(tmp_path / "log")):
        log.Log(Observer()).note("a\x1b[2J\nb\x9b")
    (line,) = (tmp_path / "log").read_text().splitlines()
    assert line.endswith(r" INFO a\x1b[2J\nb\x9b")


def test_control_characters_of_tracebacks(tmp_path: Path) -> None:
    """A traceback has lines of its own, which are marked."""
    with log.to_file(str(tmp_path / "log")):
        try:
            raise ValueError("a\x1b[2J\n2026-01-01 INFO forged")
        except ValueError:
            logging.getLogger("imageprep_client.x").debug("x", exc_info=True)
    first, *others = (tmp_path / "log").read_text().splitlines()
    assert first.endswith(" DEBUG x")
    assert all(line.startswith("  | ") for line in others)
    assert r"a\x1b[2J" in others[-2]


def test_handlers_of_others() -> None:
    """Records that other handlers write meanwhile are printable, too."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    root = logging.getLogger()
    root.addHandler(handler)
    try:
        with log.made_printable():
            root.error("a\x1b[2J\nb")
        root.error("c\x1b")
    finally:
        root.removeHandler(handler)
    assert stream.getvalue() == "a\\x1b[2J\nb\nc\x1b\n"


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING])
def test_unheard_records(level: int, monkeypatch) -> None:
    """Without a file, records below the levels of all handlers are dropped."""
    logger = logging.getLogger("imageprep_client")
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [logging.NullHandler(level)])
    monkeypatch.setattr(root, "level", logging.DEBUG)
    with log.to_file(None):
        assert logger.isEnabledFor(logging.WARNING)
        assert logger.isEnabledFor(logging.DEBUG) == (level == logging.DEBUG)
    assert logger.level == logging.NOTSET


@pytest.mark.parametrize("event", ["retrying", "waiting", "note", "warning"])
@pytest.mark.parametrize("terminal", [False, True])
def test_told_once(
    monkeypatch: pytest.MonkeyPatch, event: str, *, terminal: bool
) -> None:
    """With ``-v`` a note of progress is no line of the log as well."""
    stream = io.StringIO()
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    handler = logging.StreamHandler(stream)
    logging.getLogger().addHandler(handler)
    monkeypatch.setattr(logging.getLogger("imageprep_client"), "level", 20)
    arguments, line = EVENTS[event]
    told = line.removeprefix("INFO ").removeprefix("warning: ")
    with progress.Progress(stream, terminal=terminal) as shown:
        getattr(log.Log(shown), event)(*arguments)
        logging.getLogger("imageprep_client").info("another line")

    assert stream.getvalue().count(told.removesuffix(".0 s")) == 1
    assert stream.getvalue().count("another line") == 1
    assert handler.filters == []
