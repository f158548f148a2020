"""The programs of a node, without podman."""

from __future__ import annotations

import socket
import types
from pathlib import Path

import pytest

_SLOW = "#!/bin/sh\necho $$ > {pid}\nexec sleep 600\n"


@pytest.fixture
def slow(
    podman: types.ModuleType,
    watch: types.ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """A podman that does not end; the file gets its process."""
    (tmp_path / "podman").write_text(_SLOW.format(pid=tmp_path / "pid"))
    (tmp_path / "podman").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(podman, "PERIOD", 0.05)
    monkeypatch.setattr(watch, "WATCH", 0.05)
    return tmp_path / "pid"


def test_registry_that_goes_away(
    podman: types.ModuleType, watch: types.ModuleType, slow: Path
) -> None:
    """A pull ends when its registry takes no connections any more, long
    before its own time.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        host = f"127.0.0.1:{server.getsockname()[1]}"
        with watch.Watch(host) as watched:
            # It is there, so that only the time ends this one.
            with pytest.raises(podman.Failed, match="longer than 1 seconds"):
                podman.run(["pull"], 1, None, watched)
            server.close()
            with pytest.raises(podman.Failed) as caught:
                podman.run(["pull"], 3600, None, watched)
    assert str(caught.value) == (
        f"{host} takes no connections: connection refused"
    )
    assert not Path(f"/proc/{slow.read_text().strip()}").exists()


def test_time_of_one_image(
    podman: types.ModuleType, tmp_path: Path, slow: Path
) -> None:
    """The time is that of one line, and each line is told as it comes."""
    told: list[str] = []
    program = "#!/bin/sh\necho one\necho two\nexec sleep 600\n"
    (tmp_path / "podman").write_text(program)
    with pytest.raises(podman.Failed, match="longer than 1 seconds"):
        podman.run(["pull"], 1, None, None, told.append)
    assert told == ["one", "two"]
    program = "#!/bin/sh\necho log >&2\necho Error: x >&2\nexit 5\n"
    (tmp_path / "podman").write_text(program)
    with pytest.raises(podman.Failed, match=r"^Error: x$"):
        podman.run(["pull"], 60)


def test_registry_is_lost_within_seconds(
    podman: types.ModuleType, watch: types.ModuleType
) -> None:
    """Looks at a registry name it in less than half a minute."""
    # A connection takes as long as the time before it, at most; podman is
    # ended at the next look.
    assert 2 * watch.MISSED * watch.WATCH + podman.PERIOD <= 40


@pytest.mark.parametrize(
    ("registry", "variables"),
    [
        ("", {}),
        ("registry.example.com", {}),
        ("[::1]", {}),
        ("127.0.0.1:1", {"http_proxy": "http://127.0.0.1:1"}),
    ],
)
def test_registries_that_are_not_watched(
    watch: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    registry: str,
    variables: dict[str, str],
) -> None:
    """Without an address, or behind a proxy, nothing is tried."""
    for name, value in {"no_proxy": "", **variables}.items():
        monkeypatch.setenv(name, value)
    with watch.Watch(registry) as watched:
        assert not watched.thread.is_alive()
