"""podman that hangs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.programs.podman import Podman, commands


@pytest.mark.parametrize(
    "call",
    [
        lambda podman: podman.stop("one", 0),
        lambda podman: podman.remove("one", seconds=0),
        lambda podman: podman.discard("one"),
    ],
)
def test_podman_that_hangs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[Podman], None],
) -> None:
    """A stop or removal that does not end is an error."""
    program = tmp_path / "podman"
    program.write_text("#!/bin/sh\nexec sleep 5\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(commands, "_PATIENCE", 0.1)
    with pytest.raises(errors.LocalStorageError, match="not done after"):
        call(Podman())
