"""Claims of processes, as this host and others judge them."""

from __future__ import annotations

import dataclasses
import os
import subprocess

import pytest

from imageprep_client.host import processes
from imageprep_client.host.processes import Claim


@pytest.mark.parametrize(
    ("changes", "is_alive"),
    [
        ({}, True),
        ({"started": "1"}, False),
        ({"boot": "former", "namespace": "former"}, False),
        ({"namespace": "of a container"}, None),
        ({"boot": "another", "machine": "another"}, None),
    ],
    ids=["this", "same number", "restarted", "container", "other host"],
)
def test_is_alive(changes: dict[str, str], is_alive: bool | None) -> None:
    """Nothing is said of a process that this host cannot see."""
    own = Claim.parse(str(Claim.own()))
    assert own is not None
    assert dataclasses.replace(own, **changes).is_alive is is_alive


def test_zombie() -> None:
    """A process that nobody reaps has ended."""
    with subprocess.Popen(["sleep", "60"]) as process:
        claim = dataclasses.replace(
            Claim.own(),
            process=str(process.pid),
            started=processes.start(process.pid),
        )
        assert claim.is_alive
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert claim.is_alive is False


def test_hosts_without_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers of two hosts that have one name are no restarted host."""
    monkeypatch.setattr(processes, "_machine", lambda: "")
    assert dataclasses.replace(Claim.own(), boot="another").is_alive is None


def test_any_host_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The text is that of the process whatever its host is called."""
    monkeypatch.setattr("platform.node", lambda: "a/b\udcff")
    claim = Claim.own()
    assert Claim.parse(str(claim)) == claim
    assert claim.host == "a/b?"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "boot/12/34",
        "a/b/c/d/none/f",
        "a/b/c/d/0/f",
        "a/b/c/d/9999999999/f",
    ],
)
def test_no_claim(text: str) -> None:
    """Texts of others are no claims."""
    assert Claim.parse(text) is None
