"""A service command ends changes that are half done, without a journal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.service import SwapOutcome
from imageprep_client.programs.podman import Podman
from imageprep_client.service.journal import (
    StateDirectory,
    SwapJournal,
    SwapState,
)
from tests import sampling, servers
from tests.podman_host import (
    QUICK,
    PodmanHost,
    answer,
    in_environment,
    mute,
    service,
)

pytestmark = pytest.mark.needs_root

_OPENSTACK = Path(sys.executable).with_name("openstack")
#: Takes no notice of SIGTERM.
_STUBBORN = """#!/bin/sh
trap '' TERM
while true; do sleep 1; done
"""


def test_interrupted_stop(podman_host: PodmanHost, port: int) -> None:
    """A stop that was killed is finished by the next command."""
    image = podman_host.image("stubborn", "1", script=_STUBBORN)
    declared = service(image, port)
    del declared["health"]
    podman_host.start({"one": declared})
    with subprocess.Popen(["podman", "stop", "one"]) as process:
        deadline = time.monotonic() + 60
        while podman_host.states()["one"] != "stopping":
            assert time.monotonic() < deadline
        process.kill()
    assert podman_host.node().recover() == ["one"]
    assert podman_host.states() == {"one": "exited"}


def test_half_made_container(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """Storage that a killed creation left is removed, others' is not."""
    inputs = podman_host.inputs({"one": service(images[0], port)})
    node = podman_host.node()
    node.start(inputs, [], QUICK)
    podman_host.podman("rm", "--force", "--time=0", "one")
    podman_host.storage.buildah.run("from", "--name=one", images[0])
    podman_host.storage.buildah.run("from", "--name=other", images[0])
    podman_host.storage.buildah.run(
        "from", "--name=image-prepare.one.1", images[0]
    )
    assert podman_host.node().recover() == ["one"]
    assert podman_host.states() == {"other": "storage"}
    podman_host.storage.buildah.run("rm", "other")
    podman_host.node().upgrade(inputs, [], QUICK)
    assert answer(port) == "1"


def test_values_of_a_killed_creation(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """The values of a container that is not started are kept nowhere."""
    inputs = podman_host.inputs({"one": service(images[0], port)})
    podman_host.node().start(inputs, [], QUICK)
    (path,) = (p for p in podman_host.state_files() if p.name == "lock")
    left = path.with_name("environment") / "image-prepare.one.1.env"
    left.write_text("PASSWORD=secret\n")
    podman_host.node().recover()
    assert not left.exists()


def kill(podman_host: PodmanHost) -> None:
    """Kill the process of a service, and the one that watches it."""
    state = podman_host.inspect("one")["State"]
    for process in (state["ConmonPid"], state["Pid"]):
        os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{state['Pid']}/cmdline").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_dead_process(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A process that is gone is started again, as podman would have done."""
    podman_host.start({"one": service(images[0], port)})
    kill(podman_host)
    assert podman_host.node().recover() == ["one"]
    assert answer(port) == "1"


class Killed(BaseException):
    """Ends the command as SIGKILL does."""


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """The command is killed as soon as a holder is removed; what undoes it."""
    discard = Podman.discard

    def discard_and_die(podman: Podman, *names: str) -> None:
        discard(podman, *names)
        if names == ("image-prepare.one.1",):
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Podman, "discard", discard_and_die)
        yield patch


def test_killed_without_the_holder_of_a_dead_process(
    podman_host: PodmanHost,
    images: list[str],
    port: int,
    kills: pytest.MonkeyPatch,
) -> None:
    """A service that was started again needs no holder any more."""
    inputs = podman_host.inputs({"one": service(images[0], port)})
    podman_host.node().start(inputs, [], QUICK)
    kill(podman_host)
    with pytest.raises(Killed):
        podman_host.node().recover()
    kills.undo()
    assert podman_host.node().recover() == []
    assert answer(port) == "1"


def test_killed_without_the_holder_of_a_restored_service(
    podman_host: PodmanHost,
    images: list[str],
    port: int,
    kills: pytest.MonkeyPatch,
) -> None:
    """Nor does one that was restored, though that could not be recorded."""
    write = StateDirectory.write_journal

    def write_or_fail(state: StateDirectory, journal: SwapJournal) -> None:
        if any(one.state is SwapState.REVERTED for one in journal.swaps):
            raise errors.StoreError("no space left")
        write(state, journal)

    kills.setattr(StateDirectory, "write_journal", write_or_fail)
    inputs = podman_host.inputs({"one": service(images[0], port)})
    podman_host.node().start(inputs, [], QUICK)
    wanted = podman_host.inputs({"one": mute(images[2], port)})
    with pytest.raises(Killed):
        podman_host.node().upgrade(wanted, [], QUICK)
    kills.undo()
    assert podman_host.node().recover() == []
    assert answer(port) == "1"


def test_beginning_of_an_id(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A service is no other container whose ID begins with its name."""
    node = podman_host.node()
    inputs = podman_host.inputs({"one": service(images[0], port)})
    node.start(inputs, [], QUICK)
    identity = podman_host.inspect("one")["Id"]
    other = servers.free_port()
    name = identity[:6]
    podman_host.start({name: service(images[1], other)})
    assert (answer(port), answer(other)) == ("1", "2")
    assert podman_host.inspect("one")["Id"] == identity


@pytest.mark.parametrize(
    ("number", "status"),
    sampling.some([(signal.SIGINT, 130), (signal.SIGTERM, 143)], 2),
)
def test_ended_by_the_user(
    podman_host: PodmanHost,
    images: list[str],
    port: int,
    number: signal.Signals,
    status: int,
) -> None:
    """A command that is ended while a service is away puts it back first."""
    podman_host.start({"one": service(images[0], port)})
    path = podman_host.declare({"one": service(images[2], port)}, "new.yaml")
    identity = podman_host.inspect("one")["Id"]
    with subprocess.Popen(
        [
            str(_OPENSTACK),
            *("image-prepare", "service", "upgrade", "--declaration", path),
            *("--report", str(podman_host.directory / "report.json")),
        ],
        env=in_environment(podman_host),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = time.monotonic() + 60
        while podman_host.podman(
            *("ps", "--no-trunc", "--format={{.ID}}", "--filter=name=^one$")
        ) in ("", identity):
            assert time.monotonic() < deadline
        process.send_signal(number)
        _, told = process.communicate()
    assert process.returncode == status, told
    assert "one: the old container was restored" in told
    assert answer(port) == "1"
    assert not list(podman_host.directory.glob("state/**/journal.json"))
    report = (podman_host.directory / "report.json").read_text()
    assert '"outcome": "reverted"' in report


def test_half_started(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A start that fails names what it has started, and is no refusal."""
    declared = {
        "one": service(images[0], port),
        "two": mute(images[2], servers.free_port(), depends_on=["one"]),
    }
    node = podman_host.node()
    with pytest.raises(errors.PartialFailure, match="two: was started and"):
        node.start(podman_host.inputs(declared), [], QUICK)
    assert [(one.service, one.outcome) for one in node.changes] == [
        ("one", SwapOutcome.DONE),
        ("two", SwapOutcome.FAILED),
    ]
