"""Services that share namespaces with, or take volumes from, another one."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.client.service import OnFailure, SwapOutcome
from tests import servers
from tests.podman_host import QUICK, PodmanHost, answer, mute, service

pytestmark = pytest.mark.needs_root


@pytest.fixture
def ports() -> tuple[int, int]:
    return servers.free_port(), servers.free_port()


def pair(
    images: tuple[str, str], ports: tuple[int, int], **more: Any
) -> dict[str, dict[str, Any]]:
    """A service, declared after the one in whose namespace it is."""
    return {
        "side": service(images[0], ports[0], network="container:main", **more),
        "main": service(images[1], ports[1]),
    }


def test_both_are_replaced(
    podman_host: PodmanHost, images: list[str], ports: tuple[int, int]
) -> None:
    """Services that share namespaces are replaced together."""
    old, new, _ = images
    node = podman_host.node()
    started = podman_host.start(pair((old, old), ports))
    assert [one.service for one in started] == ["main", "side"]
    changes = node.upgrade(
        podman_host.inputs(pair((old, new), ports)), ["main"], QUICK
    )
    assert [(one.service, one.reason) for one in changes] == [
        ("main", "another image"),
        ("side", "shares namespaces of main"),
    ]
    assert [answer(port) for port in ports] == ["1", "2"]
    node.rollback(["main"], 0, QUICK)
    assert [answer(port) for port in ports] == ["1", "1"]
    assert podman_host.running() == {"main", "side"}


def test_both_are_put_back(
    podman_host: PodmanHost, images: list[str], ports: tuple[int, int]
) -> None:
    """Both old containers are restored when the second is never healthy."""
    old, new, broken = images
    node = podman_host.node()
    node.start(podman_host.inputs(pair((old, old), ports)), [], QUICK)
    wanted = pair((broken, new), ports)
    wanted["side"] = mute(broken, ports[0], network="container:main")
    with pytest.raises(errors.PartialFailure, match=r"restored: main, side"):
        node.upgrade(podman_host.inputs(wanted), [], QUICK)
    assert [answer(port) for port in ports] == ["1", "1"]
    assert {one.outcome for one in node.changes} == {SwapOutcome.REVERTED}


def test_started_again(
    podman_host: PodmanHost, images: list[str], ports: tuple[int, int]
) -> None:
    """A service starts again with the one whose namespaces it is in."""
    inputs = podman_host.inputs(pair((images[0], images[0]), ports))
    node = podman_host.node()
    node.start(inputs, [], QUICK)
    before = podman_host.inspect("side")["State"]["Pid"]
    podman_host.node().stop(None, ["main"])
    started = podman_host.node().start(inputs, ["main"], QUICK)
    assert [(one.service, one.reason) for one in started] == [
        ("main", "did not run"),
        ("side", "shares namespaces of main"),
    ]
    assert podman_host.inspect("side")["State"]["Pid"] != before
    assert [answer(port) for port in ports] == ["1", "1"]


def test_failure_that_stays(
    podman_host: PodmanHost, images: list[str], ports: tuple[int, int]
) -> None:
    """A service that was removed for another one is named."""
    old, _, broken = images
    node = podman_host.node()
    podman_host.start(pair((old, old), ports))
    wanted = pair((old, old), ports)
    wanted["main"] = mute(broken, ports[1])
    policy = dataclasses.replace(QUICK, on_failure=OnFailure.STOP)
    told = "as it is, without side that shared with it, and"
    with pytest.raises(errors.PartialFailure, match=told):
        node.upgrade(podman_host.inputs(wanted), [], policy)
    assert podman_host.running() == {"main"}
    podman_host.node().rollback(["main", "side"], 0, QUICK)
    assert [answer(port) for port in ports] == ["1", "1"]


def test_anonymous_volumes(podman_host: PodmanHost, images: list[str]) -> None:
    """Services with the same volumes have the same ones afterwards, too."""
    command = ["/bin/sh", "-c", "trap 'exit 0' TERM; sleep 1000 & wait"]
    old, new = (
        {
            "user": {
                "image": images[0],
                "command": command,
                "volumes_from": ["data"],
            },
            "data": {"image": one, "command": command, "volumes": ["/data"]},
        }
        for one in images[:2]
    )

    def volumes() -> set[str]:
        return {
            mount["Name"]
            for name in ("user", "data")
            for mount in podman_host.inspect(name)["Mounts"]
        }

    podman_host.start(old)
    before = volumes()
    changes = podman_host.node().upgrade(
        podman_host.inputs(new), ["data"], QUICK
    )
    assert [(one.service, one.reason) for one in changes] == [
        ("data", "another image"),
        ("user", "takes volumes from data"),
    ]
    assert len(volumes() - before) == 1
    assert len(volumes()) == 1
    podman_host.node().rollback(["data"], 0, QUICK)
    assert volumes() == before


def test_stranger_shares(
    podman_host: PodmanHost, images: list[str], ports: tuple[int, int]
) -> None:
    """A container that is not declared is named before anything stops."""
    old, new, _ = images
    node = podman_host.node()
    podman_host.start({"main": service(old, ports[0])})
    podman_host.podman(
        *("create", "--name=stranger", "--network=container:main"),
        *(old, "true"),
    )
    wanted = podman_host.inputs({"main": service(new, ports[0])})
    with pytest.raises(errors.InvalidArgument, match="main: stranger shares"):
        node.upgrade(wanted, [], QUICK)
    assert answer(ports[0]) == "1"
