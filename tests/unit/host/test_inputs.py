"""Files that the user names."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import inputs


def test_content(tmp_path: Path) -> None:
    """The bytes of a regular file, up to the limit."""
    (tmp_path / "f").write_bytes(b"abc")
    assert inputs.read(str(tmp_path / "f"), 3) == b"abc"


def test_link(tmp_path: Path) -> None:
    """A link of the user's is followed."""
    (tmp_path / "f").write_bytes(b"abc")
    (tmp_path / "link").symlink_to("f")
    assert inputs.read(str(tmp_path / "link"), 3) == b"abc"


def test_null_device() -> None:
    """The null device is an empty file."""
    assert inputs.read(os.devnull, 3) == b""


def test_limit(tmp_path: Path) -> None:
    """One byte more is too much."""
    (tmp_path / "f").write_bytes(b"abc")
    with pytest.raises(errors.InvalidFile, match="is larger than 2 bytes"):
        inputs.read(str(tmp_path / "f"), 2)


def test_named_pipe(tmp_path: Path) -> None:
    """A named pipe is refused without waiting for its other end."""
    os.mkfifo(tmp_path / "pipe")
    began = time.monotonic()
    with pytest.raises(errors.InvalidFile, match="is not a regular file"):
        inputs.read(str(tmp_path / "pipe"), 3)
    assert time.monotonic() - began < 5


def test_socket(tmp_path: Path) -> None:
    """A socket is no file."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        with pytest.raises(errors.InvalidFile, match="cannot be read"):
            inputs.read(str(tmp_path / "s"), 3)


def test_device() -> None:
    """A device that never ends is refused."""
    with pytest.raises(errors.InvalidFile, match="is not a regular file"):
        inputs.read("/dev/zero", 3)


@pytest.mark.parametrize("text", ["abc", "abc" * 100_000, ""])
def test_process_substitution(text: str) -> None:
    """The pipe that a shell makes for ``<(program)`` is read to its end."""
    reader, writer = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; print(sys.stdin.read(), end='')"],
        stdin=subprocess.PIPE,
        stdout=writer,
        text=True,
    ) as program:
        os.close(writer)
        assert program.stdin
        program.stdin.write(text)
        program.stdin.close()
        try:
            found = inputs.read(f"/dev/fd/{reader}", 1_000_000)
        finally:
            os.close(reader)
    assert found == text.encode()


def test_pipe_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never ends has a minute."""
    monkeypatch.setattr(inputs, "PATIENCE", 0.3)
    reader, writer = os.pipe()
    os.write(writer, b"a")
    try:
        with pytest.raises(errors.InvalidFile, match="has no end after"):
            inputs.read(f"/dev/fd/{reader}", 10)
    finally:
        os.close(reader)
        os.close(writer)
