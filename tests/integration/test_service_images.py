"""Upgrades of services whose images cannot be had: nothing is stopped."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.cli import log
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.service import ServiceNode, SwapPolicy
from imageprep_client.observer import Observer
from imageprep_client.testing.faults import Fault
from tests import servers
from tests.fault_proxy import FaultProxy
from tests.podman_host import QUICK, PodmanHost, answer, service
from tests.servers import DockerRegistry

pytestmark = pytest.mark.needs_root

_NAMES = ("one", "two", "three")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@pytest.fixture(scope="module")
def old(podman_site: PodmanHost) -> str:
    """The image that services have before."""
    return podman_site.image("old", "1")


def end(registry: DockerRegistry) -> None:
    """Kill a registry, and wait until it listens no more."""
    os.kill(registry.process, signal.SIGKILL)
    host, _, port = registry.host.partition(":")
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except ConnectionRefusedError:
            return
        except ConnectionResetError:
            pass  # it was accepted by the process that is killed


@contextlib.contextmanager
def untouched(host: PodmanHost) -> Iterator[None]:
    """Fails when a container is not the one from before, and running."""
    before = {name: host.inspect(name)["State"] for name in host.running()}
    assert before
    yield
    after = {name: host.inspect(name)["State"] for name in host.running()}
    assert {n: s["Pid"] for n, s in after.items()} == {
        n: s["Pid"] for n, s in before.items()
    }


def test_registry_is_gone(
    podman_host: PodmanHost, old: str, registry: DockerRegistry
) -> None:
    """Nothing is stopped when the registry dies after one of three pulls.

    The exit status is that of a command that did nothing.
    """

    class Ending(Observer):
        pulled = 0

        def note(self, text: str) -> None:
            if text.endswith(": pulled"):
                self.pulled += 1
                end(registry)

    ports = {name: servers.free_port() for name in _NAMES}
    new = {
        name: podman_host.push(podman_host.image(name, f"n{name}"), registry)
        for name in _NAMES
    }
    declared = {name: service(old, one) for name, one in ports.items()}
    podman_host.start(declared)
    wanted = {name: service(new[name], one) for name, one in ports.items()}
    ending = Ending()
    work = log.Work(ending)
    with untouched(podman_host), pytest.raises(errors.StoreError) as caught:
        podman_host.node(work).upgrade(podman_host.inputs(wanted), [], QUICK)
    assert ending.pulled == 1
    assert not work.began
    assert not isinstance(caught.value, errors.PartialFailure)


@pytest.mark.parametrize("part", ["manifests", "blobs"])
def test_wrong_digest(
    podman_host: PodmanHost,
    old: str,
    registry: DockerRegistry,
    port: int,
    part: str,
) -> None:
    """Nothing is stopped when a registry serves other bytes than it says."""
    name = f"wrong-{part}"
    new = podman_host.push(podman_host.image(name, "2"), registry)
    node = podman_host.node()
    podman_host.start({"one": service(old, port)})
    fault = Fault(method="GET", path=f"/{part}/", corrupt=20, times=None)
    with FaultProxy(registry.host, [fault]) as proxy:
        address = proxy.url.removeprefix("http://")
        remote = new.replace(registry.host, address)
        wanted = podman_host.inputs({"one": service(remote, port)})
        with (
            untouched(podman_host),
            pytest.raises(errors.StoreError, match=r"(?i)digest"),
        ):
            node.upgrade(wanted, [], QUICK)


def test_no_space(
    podman_host: PodmanHost, old: str, registry: DockerRegistry, port: int
) -> None:
    """Nothing is pulled or stopped when the layers need more than is free."""
    new = podman_host.push(podman_host.image("large", "2"), registry)
    path = "/v2/large/manifests/"
    connection = http.client.HTTPConnection(registry.host)
    with contextlib.closing(connection):
        connection.request("GET", path + "2", headers={"Accept": _MANIFEST})
        manifest = json.load(connection.getresponse())
        manifest["layers"][0]["size"] = 1 << 50
        text = json.dumps(manifest)
        headers = {"Content-Type": _MANIFEST}
        connection.request("PUT", path + "3", text, headers)
        assert connection.getresponse().status == 201
    node = podman_host.node()
    podman_host.start({"one": service(old, port)})
    large = new.removesuffix(":2") + ":3"
    wanted = podman_host.inputs({"one": service(large, port)})
    with (
        untouched(podman_host),
        pytest.raises(errors.NoSpace, match=r"are needed, .* are free"),
    ):
        node.upgrade(wanted, [], QUICK)


def test_policy_refuses(
    podman_host: PodmanHost,
    old: str,
    registry: DockerRegistry,
    port: int,
    tmp_path: Path,
) -> None:
    """An image that the signature policy refuses is not even pulled."""
    new = podman_host.push(podman_host.image("refused", "2"), registry)
    podman_host.start({"one": service(old, port)})
    policy = tmp_path / "policy.json"
    policy.write_text(json.dumps({"default": [{"type": "reject"}]}))
    node = ServiceNode(RegistryOptions(signature_policy=str(policy)))
    wanted = podman_host.inputs({"one": service(new, port)})
    with untouched(podman_host), pytest.raises(errors.PolicyRefused):
        node.upgrade(wanted, [], QUICK)
    assert registry.host not in podman_host.podman("images")


def test_start_without_registry(
    podman_host: PodmanHost, registry: DockerRegistry, port: int
) -> None:
    """A container that exists is started while its registry is away."""
    remote = podman_host.push(podman_host.image("away", "1"), registry)
    inputs = podman_host.inputs({"one": service(remote, port)})
    node = podman_host.node()
    node.start(inputs, [], QUICK)
    node.stop(None, [])
    end(registry)
    node.start(inputs, [], QUICK)
    assert answer(port) == "1"


def test_rollback_waits(podman_host: PodmanHost, old: str, port: int) -> None:
    """Nothing is restored while wait_for does not succeed."""
    new = podman_host.image("new", "2")
    node = podman_host.node()
    podman_host.start({"one": service(old, port)})
    with socket.create_server(("127.0.0.1", 0)) as awaited:
        address = f"127.0.0.1:{awaited.getsockname()[1]}"
        declared = service(
            new, port, wait_for={"tcp": address, "interval": 0.1}
        )
        podman_host.upgrade({"one": declared})
    hasty = SwapPolicy(min_healthy=0.1, healthy_deadline=0.5)
    with (
        untouched(podman_host),
        pytest.raises(errors.StoreError, match="wait_for did not succeed"),
    ):
        node.rollback(["one"], 0, hasty)
    assert answer(port) == "2"


def test_upgrade_during_recover(
    podman_host: PodmanHost, old: str, port: int
) -> None:
    """An upgrade waits for a recover, and says so."""
    waits: list[str] = []
    recovers, waited = threading.Event(), threading.Event()

    class Killed(BaseException):
        """Ends the command as SIGKILL does."""

    class Interrupted(Observer):
        def note(self, text: str) -> None:
            if text.endswith(": swapping"):
                raise Killed

    class Recovering(Observer):
        def note(self, text: str) -> None:
            recovers.set()
            assert waited.wait(60)

    class Waiting(Observer):
        def waiting(self, what: str) -> None:
            waits.append(what)
            waited.set()

    new = podman_host.image("newer", "2")
    podman_host.start({"one": service(old, port)})
    wanted = podman_host.inputs({"one": service(new, port)})
    with pytest.raises(Killed):
        podman_host.node(Interrupted()).upgrade(wanted, [], QUICK)
    recover = threading.Thread(target=podman_host.node(Recovering()).recover)
    recover.start()
    assert recovers.wait(60)
    podman_host.node(Waiting()).upgrade(wanted, [], QUICK)
    recover.join(60)
    assert waits == [f"process {os.getpid()} changes services of this node"]
    assert answer(port) == "2"
