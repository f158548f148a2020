"""Files that are named to be read cannot block or fill the memory."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

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
