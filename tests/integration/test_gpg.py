"""Verifying messages with gpgv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imageprep_client.programs.gpg import verifying


def test_message_that_expands_without_bound(tmp_path: Path) -> None:
    """A compressed message is unpacked within bounds only."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    bomb = subprocess.run(
        [
            *("gpg", "--homedir", str(home), "--batch", "--quiet"),
            *("--compress-algo", "zlib", "--compress-level", "9"),
            *("--store", "--output", "-"),
        ],
        input=bytes(64 << 20),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    ).stdout
    assert len(bomb) < 1 << 20

    with pytest.raises(verifying.BadSignature, match="too much output"):
        verifying.verify(bomb, [b""])
