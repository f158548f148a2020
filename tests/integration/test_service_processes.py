"""Processes in and beside the containers of services."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.client.service import ServiceInputs, UpgradeOptions
from tests import sampling, servers
from tests.podman_host import QUICK, PodmanHost, service
from tests.rpm_images import RpmImages

pytestmark = pytest.mark.needs_root

#: Starts a process that, with $LEAVES, leaves its control groups, as qemu
#: does with machined.
_LIBVIRT = """#!/bin/sh
trap 'kill $!; exit 0' TERM
if ! [ -e /state/pid ]; then
    mkfifo /state/never
    printf '#!/bin/sh\\nread x < /state/never\\n' > /bin/qemu-test
    chmod 755 /bin/qemu-test
    /bin/qemu-test < /dev/null > /dev/null 2>&1 &
    guest=$!
    for group in ${LEAVES:+/sys/fs/cgroup/*cgroup.procs} \
            ${LEAVES:+/sys/fs/cgroup/*/cgroup.procs}; do
        [ -e $group ] && echo $guest > $group
    done
    echo $guest > /state/new
    mv /state/new /state/pid
fi
sleep 100000 &
wait
"""


def eventually(done: Callable[[], bool]) -> None:
    """Fail when it is not so after a while; containers tell nobody."""
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)


class Libvirt:
    """A service with one guest."""

    def __init__(self, host: PodmanHost, **variables: str) -> None:
        self.host = host
        self.state = host.directory / "guest"
        self.state.mkdir(exist_ok=True)
        for path in self.state.iterdir():
            path.unlink()
        self.declared = {
            "image": host.image("libvirt", "1", script=_LIBVIRT),
            "command": ["/bin/sh", "/serve"],
            "environment": variables,
            "privileged": True,
            "pid": "host",
            "cgroupns": "host",
            "network": "host",
            "restart": "always",
            "stop_timeout": 2,
            "survivors": ["qemu-*"],
            "volumes": [
                "/sys/fs/cgroup:/sys/fs/cgroup",
                f"{self.state}:/state",
            ],
        }
        host.node().start(self.inputs(), [], QUICK)
        eventually((self.state / "pid").exists)
        self.guest = int((self.state / "pid").read_text())

    def inputs(self, **more: Any) -> Any:
        return self.host.inputs({"virt": {**self.declared, **more}})

    @property
    def lives(self) -> bool:
        """Whether the guest does."""
        return Path(f"/proc/{self.guest}/cmdline").exists()


def test_guest_that_left(podman_host: PodmanHost) -> None:
    """A process that left the control groups lives through upgrades, five of
    them or some.
    """
    libvirt = Libvirt(podman_host, LEAVES="yes")
    try:
        for number in sampling.some(range(5), 3):
            inputs = libvirt.inputs(hostname=f"host{number}")
            (change,) = podman_host.node().upgrade(inputs, [], QUICK)
            assert change.reason == "other options"
            assert libvirt.lives
        podman_host.node().stop(None, [])
        assert libvirt.lives
    finally:
        os.kill(libvirt.guest, signal.SIGKILL)


def test_guest_that_stayed(podman_host: PodmanHost) -> None:
    """One that did not is named before a stop, which has to be forced."""
    libvirt = Libvirt(podman_host)
    node = podman_host.node()
    told = rf"{libvirt.guest} \(qemu-test\)"
    changed = libvirt.inputs(hostname="other")
    for options in (UpgradeOptions(), UpgradeOptions(dry_run=True)):
        with pytest.raises(errors.InvalidArgument, match=told):
            node.upgrade(changed, [], QUICK, options)
    with pytest.raises(errors.InvalidArgument, match=told):
        node.stop(None, [])
    assert libvirt.lives
    node.stop(None, [], kill_survivors=True)
    assert not libvirt.lives


def test_port_of_another_process(podman_host: PodmanHost) -> None:
    """A held port is named before the stop; a service holds its own."""
    image = podman_host.image("nova", "1")
    port = servers.free_port()
    declared = service(image, port, preflight={"ports": [port]})
    podman_host.start({"one": declared})
    changed = {**declared, "hostname": "other"}
    (change,) = podman_host.upgrade({"one": changed})
    assert change.action == "replace"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        held = listener.getsockname()[1]
        wanted = service(image, held, preflight={"ports": [held]})
        before = podman_host.inspect("one")["Id"]
        with pytest.raises(errors.InvalidArgument, match=rf"{held} \(process"):
            podman_host.upgrade({"one": wanted})
    assert podman_host.inspect("one")["Id"] == before


def test_version_of_a_package(
    podman_host: PodmanHost, rpm_images: RpmImages
) -> None:
    """The version that rpm tells inside of the running container is shown."""
    image = rpm_images.base(podman_host.storage)
    declared = {"image": image, "command": ["cat"], "podman_args": ["--tty"]}
    node = podman_host.node()
    podman_host.start({"keystone": declared})
    version = node.package_version("keystone", "keystone-demo")
    assert version == "keystone-demo-1.0-1.noarch"
    with pytest.raises(errors.NotFound, match="absent is not installed"):
        node.package_version("keystone", "absent")


def test_older_libvirt(podman_host: PodmanHost) -> None:
    """A libvirt that is older than the running one is refused."""
    base = podman_host.idle("libvirtd", "1")
    inputs = []
    for version in ("10.0.1", "9.11.0"):
        image = f"localhost/nova-libvirt:{version}"
        script = f"#!/bin/sh\necho libvirtd {version}".encode()
        podman_host.storage.build(image, {"/bin/libvirtd": script}, base=base)
        declared = {"image": image, "command": ["/bin/sh", "/serve"]}
        path = podman_host.declare({"virt": declared}, f"{version}.yaml")
        inputs.append(ServiceInputs(declaration=path))
    running, older = inputs
    node = podman_host.node()
    node.start(running, [], QUICK)
    with pytest.raises(
        errors.InvalidArgument,
        match=r"virt: libvirt has version 9\.11\.0, older than 10\.0\.1",
    ):
        node.upgrade(older, [], QUICK)
    assert podman_host.running() == {"virt"}
