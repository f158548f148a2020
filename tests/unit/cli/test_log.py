"""The log of a run."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.cli import log
from imageprep_client.observer import Observer
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

BLOB = Descriptor.of(b"abc", mediatypes.OCI_LAYER_GZIP)
EVENTS = {
    "phase": (("blobs", 3), "INFO phase blobs: 3"),
    "image_started": (("a:1",), "DEBUG a:1: started"),
    "image_finished": (("a:1", "copied"), "INFO a:1: copied"),
    "bytes_expected": ((7,), "INFO bytes to move: 7"),
    "blob_finished": (
        (BLOB, "mounted"),
        f"DEBUG {BLOB.digest}, 3 bytes: mounted",
    ),
    "retrying": (("x: y", 1, 2.0), "INFO x: y; attempt 2 in 2.0 s"),
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
    """What is in the file stays."""
    path = tmp_path / "log"
    path.write_text("old\n")
    with log.to_file(str(path)):
        log.Log(Observer()).waiting("x")

    assert path.read_text().startswith("old\n")


def test_no_file() -> None:
    """Without a file nothing is written anywhere."""
    with log.to_file(""):
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
