"""podman that hangs or refuses."""

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


def test_names_that_podman_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The remedy for a registry that is an IPv6 address is told."""
    program = tmp_path / "podman"
    told = "Error: inspecting object: invalid reference format"
    program.write_text(f"#!/bin/sh\necho '{told}' >&2; exit 125\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(errors.LocalStorageError) as caught:
        Podman().image("[2001:db8::1]:5000/ns/api:1")
    assert "use another name of that host" in str(caught.value.hint)
