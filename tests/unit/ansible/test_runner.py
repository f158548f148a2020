"""Runs of real ansible over hosts that are this one, or none."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import ansible, errors
from imageprep_client.ansible import LOCAL, HostState, Inventory, Unsafe

_NOBODY = {
    "ansible_connection": "ssh",
    "ansible_host": "127.0.0.1",
    "ansible_port": 1,
    "code": 0,
}


def shell(text: str, **more: object) -> Mapping[str, Any]:
    """A play with one command for all hosts."""
    task = {"name": "do it", "ansible.builtin.shell": text, **more}
    return {"hosts": "all", "gather_facts": False, "tasks": [task]}


def test_a_result_for_each_host(tmp_path: Path) -> None:
    """Hosts fail by themselves, each with its reason and no secret."""
    inventory = Inventory(
        groups={
            "all_of_them": {
                "good": {**LOCAL, "code": 0},
                "bad": {**LOCAL, "code": 3},
                "away": _NOBODY,
            }
        },
        variables={"word": Unsafe("hunter2 {{ x }}")},
    )
    tasks: list[tuple[str, str, bool]] = []
    result = ansible.run(
        [shell("echo {{ word }} >&2; exit {{ code }}")],
        inventory,
        on_event=lambda event: tasks.append(
            (event.host, event.task, event.ok)
        ),
        secrets=["hunter2"],
        forks=3,
        directory=tmp_path,
    )
    assert {name: host.state for name, host in result.hosts.items()} == {
        "good": HostState.OK,
        "bad": HostState.FAILED,
        "away": HostState.UNREACHABLE,
    }
    assert not result.complete
    assert result.hosts["good"].failure is None
    assert str(result.hosts["bad"].failure) == (
        "task 'do it' failed: *** {{ x }}"
    )
    assert "hunter2" not in f"{result}"
    assert ("good", "do it", True) in tasks
    assert not list(tmp_path.iterdir())


def test_no_ansible(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program is named, with the remedy."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(errors.InvalidArgument, match="ansible-core") as raised:
        ansible.run([], Inventory(groups={}))
    assert "pip install" in str(raised.value.hint)


def test_watch(tmp_path: Path) -> None:
    """An error of the watch ends the run and everything it started."""
    mark = tmp_path / "started"

    def watch() -> None:
        if mark.exists():
            raise errors.NoSpace("full", needed=2, free=1)

    with pytest.raises(errors.NoSpace, match="full"):
        ansible.run(
            [shell(f"touch {mark}; sleep 600")],
            Inventory(groups={"some": {"a": dict(LOCAL)}}),
            directory=tmp_path,
            watch=watch,
        )
    end = time.monotonic() + 60
    while subprocess.run(["pgrep", "-f", str(tmp_path)]).returncode == 0:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == [mark]
