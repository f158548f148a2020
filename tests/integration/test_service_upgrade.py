"""Upgrades of services with real podman, and their way back."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.service import (
    OnFailure,
    ServiceInputs,
    SwapPolicy,
)
from imageprep_client.observer import Observer
from tests import mounts, servers
from tests.podman_host import PodmanHost, answer, mute, service

pytestmark = pytest.mark.needs_root

QUICK = SwapPolicy(min_healthy=0.2, healthy_deadline=30)


@dataclasses.dataclass
class Ports:
    """Ports for three services."""

    one: int
    two: int
    three: int

    def services(
        self, first: str, second: str, third: str, *, is_mute: bool = False
    ) -> dict[str, dict[str, object]]:
        """Three services, each depending on the one before.

        :param is_mute: whether the second one never answers.
        """
        middle = mute if is_mute else service
        return {
            "three": service(third, self.three, depends_on=["two"]),
            "two": middle(second, self.two, depends_on=["one"]),
            "one": service(first, self.one),
        }

    def answers(self) -> list[str]:
        """The answers of the three."""
        return [answer(p) for p in (self.one, self.two, self.three)]


@pytest.fixture
def ports() -> Ports:
    return Ports(*(servers.free_port() for _ in range(3)))


def test_upgrade_and_rollback(
    podman_host: PodmanHost, images: list[str], ports: Ports
) -> None:
    """Services run the new images, and after a rollback the old ones."""
    old, new, _ = images
    node = podman_host.node()
    node.start(podman_host.inputs(ports.services(old, old, old)), [], QUICK)
    assert ports.answers() == ["1", "1", "1"]
    changes = node.upgrade(
        podman_host.inputs(ports.services(new, new, new)), [], QUICK
    )
    assert [one.service for one in changes] == ["one", "two", "three"]
    assert ports.answers() == ["2", "2", "2"]
    node.rollback(["three", "one"], 0, QUICK)
    assert ports.answers() == ["1", "2", "1"]
    assert {
        (entry.service, entry.action, entry.outcome)
        for entry in node.history()
    } >= {("one", "upgrade", "done"), ("one", "rollback", "done")}


def test_upgrade_again_changes_nothing(
    podman_host: PodmanHost, images: list[str], ports: Ports
) -> None:
    """A service that is as declared keeps its process."""
    inputs = podman_host.inputs({"one": service(images[0], ports.one)})
    node = podman_host.node()
    node.start(inputs, [], QUICK)
    before = podman_host.inspect("one")["State"]["Pid"]
    (change,) = node.upgrade(inputs, [], QUICK)
    assert change.action == "keep"
    assert podman_host.inspect("one")["State"]["Pid"] == before


def test_process_that_stays_away(
    podman_host: PodmanHost, images: list[str], ports: Ports
) -> None:
    """A process that podman will not start again is not waited for."""
    short = podman_host.image("short", "1", script="#!/bin/sh\n")
    old, new = (
        service(image, ports.one, restart="on-failure")
        for image in (images[0], short)
    )
    del old["health"], new["health"]
    node = podman_host.node()
    node.start(podman_host.inputs({"one": old}), [], QUICK)
    told = "one: its process ended with status 0; the old"
    with pytest.raises(errors.PartialFailure, match=told):
        node.upgrade(podman_host.inputs({"one": new}), [], QUICK)
    assert answer(ports.one) == "1"


def test_variable_of_a_secret(
    podman_host: PodmanHost, images: list[str], ports: Ports
) -> None:
    """A service with a variable of a secret is as declared, and a rollback
    leaves the value to podman.
    """
    words = ["--secret=s,type=env", "--secret=s,type=env,target=TOKEN"]
    old, new = (
        {"one": service(one, ports.one, podman_args=words)}
        for one in images[:2]
    )
    (podman_host.directory / "s").write_text("first")
    podman_host.podman("secret", "create", "s", f"{podman_host.directory}/s")
    try:
        node = podman_host.node()
        node.start(podman_host.inputs(old), [], QUICK)
        (change,) = node.upgrade(podman_host.inputs(old), [], QUICK)
        assert change.action == "keep", change.reason
        podman_host.node().upgrade(podman_host.inputs(new), [], QUICK)
        podman_host.node().rollback(["one"], 0, QUICK)
        variables = podman_host.inspect("one")["Config"]["Env"]
        assert variables.count("TOKEN=first") == 1
        assert variables.count("s=first") == 1
    finally:
        podman_host.podman("secret", "rm", "s")


def test_anonymous_volume(
    podman_host: PodmanHost, images: list[str], ports: Ports
) -> None:
    """A container that is restored has its data, and is as declared."""
    more = {"volumes": ["/data", f"{podman_host.directory}:/host"]}
    inputs = podman_host.inputs({"one": service(images[0], ports.one, **more)})
    podman_host.node().start(inputs, [], QUICK)
    write = ("exec", "one", "/bin/sh", "-c", "echo kept > /data/file")
    read = ("exec", "one", "/bin/sh", "-c", "read x < /data/file; echo $x")
    podman_host.podman(*write)
    unhealthy = podman_host.inputs({"one": mute(images[2], ports.one, **more)})
    with pytest.raises(errors.PartialFailure):
        podman_host.node().upgrade(unhealthy, [], QUICK)
    assert podman_host.podman(*read) == "kept"
    inputs = podman_host.inputs({"one": service(images[0], ports.one, **more)})
    (change,) = podman_host.node().upgrade(inputs, [], QUICK)
    assert change.action == "keep", change.reason
    new = podman_host.inputs({"one": service(images[1], ports.one, **more)})
    podman_host.node().upgrade(new, [], QUICK)
    podman_host.node().rollback(["one"], 0, QUICK)
    assert podman_host.podman(*read) == "kept"
    podman_host.podman("rm", "--force", "--time=0", "one")
    podman_host.podman("volume", "prune", "--force")


@pytest.mark.parametrize(
    ("policy", "expected", "broken"),
    [
        (OnFailure.REVERT_ALL, ["1", "1", "1"], False),
        (OnFailure.REVERT_ONE, ["2", "1", "1"], False),
        (OnFailure.STOP, ["2", None, "1"], True),
    ],
)
def test_unhealthy_service(
    podman_host: PodmanHost,
    images: list[str],
    ports: Ports,
    policy: OnFailure,
    expected: list[str],
    broken: bool,
) -> None:
    """The policy decides about the services when one never answers."""
    old, new, never = images
    node = podman_host.node()
    node.start(podman_host.inputs(ports.services(old, old, old)), [], QUICK)
    wanted = ports.services(new, never, new, is_mute=True)
    with pytest.raises(errors.PartialFailure, match="two: http "):
        node.upgrade(
            podman_host.inputs(wanted),
            [],
            dataclasses.replace(QUICK, on_failure=policy),
        )
    assert answer(ports.one) == expected[0]
    assert answer(ports.three) == expected[2]
    if not broken:
        assert answer(ports.two) == expected[1]
    assert podman_host.running() == {"one", "two", "three"}


class Filling(Observer):
    """Fills a disk as soon as the second service is to be replaced.

    :ivar warnings: what it is told.
    """

    def __init__(self, disk: Path) -> None:
        self._disk = disk
        self.warnings: list[str] = []

    def note(self, text: str) -> None:
        if text != "two: swapping":
            return
        with (
            (self._disk / "log").open("wb", buffering=0) as log,
            contextlib.suppress(OSError),
        ):
            while True:
                log.write(bytes(4096))

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def test_disk_that_fills_up(
    podman_host: PodmanHost,
    images: list[str],
    ports: Ports,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The old containers are back though nothing can be recorded, with the
    environment that they had, and the next upgrade succeeds.
    """
    old, new, _ = images
    parameters = {"Secret": "secret"}

    def wanted(image: str) -> ServiceInputs:
        services = ports.services(image, image, image)
        services["one"]["env_from"] = {"SECRET": {"parameter": "Secret"}}
        return podman_host.inputs(services, parameters)

    disk = tmp_path / "disk"
    monkeypatch.setenv("IMAGE_PREPARE_STATE", str(disk))
    with mounts.small_disk(disk, "size=1m", caplog):
        observer = Filling(disk)
        podman_host.node().start(wanted(old), [], QUICK)
        with pytest.raises(
            errors.PartialFailure,
            match=r"no space left .*; the old containers were restored: one",
        ):
            podman_host.node(observer).upgrade(wanted(new), [], QUICK)
        assert any("not recorded: " in text for text in observer.warnings)
        assert ports.answers() == ["1 secret", "1", "1"]
        (disk / "log").unlink()
        podman_host.node().upgrade(wanted(new), [], QUICK)
        assert ports.answers() == ["2 secret", "2", "2"]


def test_unhealthy_new_service(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """It is removed, and no container is said to be restored."""
    inputs = podman_host.inputs({"one": mute(images[-1], port)})
    with pytest.raises(errors.PartialFailure, match="no old container"):
        podman_host.node().upgrade(inputs, [], QUICK)
    assert not podman_host.states()


@pytest.mark.parametrize("is_own", [False, True])
def test_probe_that_hangs_once(
    podman_host: PodmanHost, images: list[str], port: int, is_own: bool
) -> None:
    """An attempt that takes too long is one that failed, and no error."""
    script = "[ -e /hung ] || { : > /hung; sleep 100; }"
    declared = service(images[0], port)
    del declared["health"]
    if is_own:
        declared["podman_args"] = [f"--health-cmd={script}"]
    else:
        declared["health"] = {"command": ["/bin/sh", "-c", script]}
    inputs = podman_host.inputs({"one": declared})
    podman_host.node().start(inputs, [], QUICK)
    assert podman_host.running() == {"one"}


def test_name_that_ids_begin_with(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A service of a name that begins several IDs is no other container."""
    ids: list[str] = []
    while len({one[0] for one in ids}) == len(ids):
        ids.append(podman_host.podman("create", images[0], "sh"))
    name = ids[-1][0]
    other = servers.free_port()
    declared = {
        "one": service(images[0], other),
        name: service(images[0], port),
    }
    podman_host.node().start(podman_host.inputs(declared), [], QUICK)
    assert podman_host.running() == {"one", name}
    assert answer(port) == "1"
