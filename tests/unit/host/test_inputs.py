"""Files that are named to be read cannot block or fill the memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.host import inputs


def test_reads(tmp_path: Path) -> None:
    """A regular file is read, and so is a link to one."""
    (tmp_path / "file").write_bytes(b"text")
    (tmp_path / "link").symlink_to("file")
    assert inputs.read(tmp_path / "link") == b"text"
    inputs.check(tmp_path / "link")


def test_nothing() -> None:
    """/dev/null is an empty file."""
    assert inputs.read("/dev/null") == b""
    inputs.check("/dev/null")


@pytest.mark.parametrize("use", [inputs.read, inputs.check])
@pytest.mark.parametrize("name", ["fifo", "/dev/zero", "."])
def test_other_kinds(
    tmp_path: Path, use: Callable[[Path], object], name: str
) -> None:
    """FIFOs, devices and directories are refused at once."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match=r"Not a regular|Is a directory"):
        use(tmp_path / name)


def test_size(tmp_path: Path) -> None:
    """A file over the limit is refused."""
    (tmp_path / "file").write_bytes(b"12345")
    assert inputs.read(tmp_path / "file", 5) == b"12345"
    with pytest.raises(OSError, match="File too large"):
        inputs.read(tmp_path / "file", 4)


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
            content = inputs.read(f"/dev/fd/{reader}", 1_000_000)
        finally:
            os.close(reader)
    assert content == text.encode()


def test_pipe_without_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that never ends has a minute."""
    monkeypatch.setattr(inputs, "PATIENCE", 0.3)
    reader, writer = os.pipe()
    os.write(writer, b"a")
    try:
        with pytest.raises(TimeoutError, match="has no end"):
            inputs.read(f"/dev/fd/{reader}", 10)
    finally:
        os.close(reader)
        os.close(writer)


def test_standard_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hyphen is a file name, and the error says what to use instead."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.InvalidFile, match="-: no such file") as caught:
        inputs.load("-")
    assert "<(program)" in str(caught.value.hint)
    (tmp_path / "-").write_bytes(b"x")
    assert inputs.load("-") == b"x"


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("none", "no such file"),
        ("fifo", "cannot be read: not a regular file"),
        (".", "cannot be read: is a directory"),
        ("large", "is larger than 4 bytes"),
        ("a\0b", "cannot be read: no file name"),
    ],
)
def test_option(tmp_path: Path, name: str, problem: str) -> None:
    """A file of an option that cannot be read is named in one line."""
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(b"12345")
    with pytest.raises(errors.InvalidFile) as caught:
        inputs.load(str(tmp_path / name), 4)
    assert caught.value.problem == problem
