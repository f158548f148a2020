"""Containers that units of systemd own, with a systemctl that records."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.service import SwapPolicy, UpgradeOptions
from imageprep_client.programs import systemd
from imageprep_client.service import units
from tests import servers
from tests.podman_host import QUICK, PodmanHost, answer, service

pytestmark = pytest.mark.needs_root

#: Starts and stops as a unit of TripleO does; a restart makes the container
#: of a Quadlet file anew, with the image of its drop-in. No unit starts more
#: than twice, unless that is allowed again.
_SYSTEMCTL = """#!/bin/sh
echo "$*" >> "{log}"
case "$1" in
*start) echo >> "{log}.starts"; [ $(wc -l < "{log}.starts") -le 2 ] || exit 1
esac
case "$1" in
reset-failed) rm -f "{log}.starts" ;;
start) podman start nova_compute ;;
stop) podman stop --ignore nova_compute ;;
restart)
    image=$(sed -n 's/^Image=//p' {quadlet}.d/*.conf)
    podman rm --force --time=1 nova_compute
    podman run --detach --name=nova_compute --network=host \
        --env=PORT={port} --label=PODMAN_SYSTEMD_UNIT={unit} \
        "$image" /bin/sh /serve ;;
show) echo not-found ;;
esac
"""


@pytest.fixture(scope="module")
def images(podman_site: PodmanHost) -> list[str]:
    """Two versions of a service."""
    return [podman_site.image("nova", version) for version in "12"]


class Host:
    """Directories of systemd and Quadlet, and what systemctl was told."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        self.units = directory / "units"
        self.quadlets = directory / "quadlets"
        self.port = servers.free_port()
        self.programs = directory / "bin"
        for path in (self.units, self.quadlets, self.programs):
            path.mkdir()
        self.quadlet = self.quadlets / "edpm_nova_compute.container"
        program = self.programs / "systemctl"
        program.write_text(
            _SYSTEMCTL.format(
                log=self.log,
                quadlet=self.quadlet,
                port=self.port,
                unit="edpm_nova_compute.service",
            )
        )
        program.chmod(0o755)

    def told(self) -> list[str]:
        """The commands that change something."""
        return [
            line
            for line in self.log.read_text().splitlines()
            if not line.startswith(("show", "reset-failed"))
        ]


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Host:
    found = Host(tmp_path)
    monkeypatch.setenv("PATH", str(found.programs), prepend=":")
    monkeypatch.setattr(units, "_UNITS", (found.units,))
    monkeypatch.setattr(units, "_QUADLETS", (found.quadlets,))
    return found


def test_tripleo(
    podman_host: PodmanHost, images: list[str], host: Host
) -> None:
    """A unit of TripleO is stopped, and starts the new container."""
    pidfile = podman_host.directory / "nova_compute.pid"
    declared = [
        service(image, host.port, restart="no", conmon_pidfile=str(pidfile))
        for image in images
    ]
    node = podman_host.node()
    podman_host.start({"nova_compute": declared[0]})
    (host.units / "tripleo_nova_compute.service").write_text(
        "[Service]\nExecStart=/usr/bin/podman start nova_compute\n"
    )
    podman_host.upgrade({"nova_compute": declared[1]})
    assert answer(host.port) == "2"
    unit = "-- tripleo_nova_compute.service"
    assert host.told() == [f"stop {unit}", f"start {unit}"]
    state = podman_host.inspect("nova_compute")["State"]
    assert int(pidfile.read_text()) == state["ConmonPid"]
    (status,) = node.statuses()
    assert status.owner == "tripleo_nova_compute.service"
    for _ in range(3):
        node.stop(None, [])
        podman_host.start({"nova_compute": declared[1]})
    assert answer(host.port) == "2"


def test_quadlet(
    podman_host: PodmanHost, images: list[str], host: Host
) -> None:
    """A Quadlet file gets a drop-in with the digest, and a restart."""
    node = podman_host.node()
    declared = [service(image, host.port, restart="no") for image in images]
    podman_host.start({"nova_compute": declared[0]})
    text = f"[Container]\nContainerName=nova_compute\nImage={images[0]}\n"
    host.quadlet.write_text(text)
    podman_host.upgrade({"nova_compute": declared[1]})
    assert answer(host.port) == "2"
    unit = "-- edpm_nova_compute.service"
    assert host.told() == ["daemon-reload", f"restart {unit}"]
    assert host.quadlet.read_text() == text
    node.rollback(["nova_compute"], 0, QUICK)
    assert answer(host.port) == "1"
    # systemd removes it when it stops, and the drop-in says what comes back.
    podman_host.podman("rm", "--force", "--time=0", "nova_compute")
    host.log.write_text("")
    with pytest.raises(errors.PartialFailure):
        node.start(
            podman_host.inputs({"nova_compute": declared[1]}),
            [],
            SwapPolicy(healthy_deadline=0.1),
        )
    assert host.told() == [f"start {unit}"]


@pytest.mark.parametrize("before", ["", "[Container]\nImage=other\n"])
@pytest.mark.parametrize("is_running", [True, False])
def test_restored_quadlet(
    podman_host: PodmanHost,
    images: list[str],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
    before: str,
    is_running: bool,
) -> None:
    """After a failure the drop-in is as it was before the upgrade."""
    node = podman_host.node()
    declared = [service(image, host.port, restart="no") for image in images]
    if is_running:
        inputs = podman_host.inputs({"nova_compute": declared[0]})
        node.start(inputs, [], QUICK)
    text = f"[Container]\nContainerName=nova_compute\nImage={images[0]}\n"
    host.quadlet.write_text(text)
    drop_in = Path(f"{host.quadlet}.d", "50-image-prepare.conf")
    drop_in.parent.mkdir()
    if before:
        drop_in.write_text(before)

    def fail(unit: str) -> None:
        raise errors.StoreError(f"{unit}: killed")

    monkeypatch.setattr(systemd, "restart", fail)
    with pytest.raises(errors.PartialFailure, match="killed"):
        podman_host.upgrade({"nova_compute": declared[1]})
    left = drop_in.read_text() if drop_in.exists() else ""
    assert re.findall("Image=(.*)", left) == re.findall("Image=(.*)", before)
    assert podman_host.running() == ({"nova_compute"} if is_running else set())


def test_dead_process_of_a_quadlet(
    podman_host: PodmanHost,
    images: list[str],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A unit is started again as it is, without a drop-in."""
    declared = service(images[0], host.port, restart="no")
    podman_host.start({"nova_compute": declared})
    text = f"[Container]\nContainerName=nova_compute\nImage={images[0]}\n"
    host.quadlet.write_text(text)
    state = podman_host.inspect("nova_compute")["State"]
    for process in (state["ConmonPid"], state["Pid"]):
        os.kill(process, signal.SIGKILL)
    deadline = time.monotonic() + 60
    while Path(f"/proc/{state['Pid']}/cmdline").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)

    def run(unit: str) -> None:
        podman_host.podman(
            *("run", "--detach", "--replace", "--name=nova_compute"),
            *(f"--env=PORT={host.port}", images[0], "/bin/sh", "/serve"),
        )

    monkeypatch.setattr(systemd, "start", run)
    assert podman_host.node().recover() == ["nova_compute"]
    assert answer(host.port) == "1"
    assert host.told() == ["stop -- edpm_nova_compute.service"]
    assert not Path(f"{host.quadlet}.d").exists()


def test_quadlet_of_a_distribution(
    podman_host: PodmanHost,
    images: list[str],
    host: Host,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The drop-in for a file of /usr is in /etc."""
    local = host.quadlets / "etc"
    monkeypatch.setattr(units, "_QUADLETS", (local, host.quadlets))
    text = f"[Container]\nContainerName=nova_compute\nImage={images[0]}\n"
    host.quadlet.write_text(text)
    declared = {"nova_compute": service(images[1], host.port)}
    policy = SwapPolicy(min_healthy=0, healthy_deadline=0.1)
    with pytest.raises(errors.PartialFailure, match="restart"):
        podman_host.node().upgrade(podman_host.inputs(declared), [], policy)
    assert list(local.iterdir()) == [local / f"{host.quadlet.name}.d"]
    assert host.quadlets.is_dir()
    assert not Path(f"{host.quadlet}.d").exists()


def test_kolla(podman_host: PodmanHost, images: list[str], host: Host) -> None:
    """kolla's containers are refused, with the command that changes them."""
    unit = host.units / "kolla-nova_compute-container.service"
    unit.write_text("[Service]\n")
    declared = {"nova_compute": service(images[0], host.port)}
    for options in (UpgradeOptions(dry_run=True), UpgradeOptions()):
        with pytest.raises(errors.InvalidArgument, match="kolla") as info:
            podman_host.node().upgrade(
                podman_host.inputs(declared), [], QUICK, options
            )
        assert "kolla-ansible upgrade --tags nova" in info.value.hint
    assert not podman_host.states()


def test_refused_before_a_start(
    podman_host: PodmanHost, images: list[str], host: Host
) -> None:
    """No service is started when that of a later one is refused."""
    later = {"nova_compute": service(images[0], servers.free_port())}
    node = podman_host.node()
    podman_host.start(later)
    node.stop(None, [])
    unit = host.units / "kolla-nova_compute-container.service"
    unit.write_text("[Service]\n")
    declared = {"one": service(images[0], host.port), **later}
    with pytest.raises(errors.InvalidArgument, match="kolla-ansible"):
        podman_host.start(declared)
    assert podman_host.states() == {"nova_compute": "exited"}


def test_unit_that_creates(
    podman_host: PodmanHost, images: list[str], host: Host
) -> None:
    """A unit that makes its own container is named as the owner."""
    node = podman_host.node()
    declared = {"nova_compute": service(images[0], host.port)}
    podman_host.start(declared)
    (host.units / "tripleo_nova_compute.service").write_text(
        "[Service]\nExecStart=/usr/bin/podman container run nova\n"
    )
    (status,) = node.statuses()
    assert status.owner == "tripleo_nova_compute.service"
    with pytest.raises(errors.InvalidArgument, match="creates the container"):
        node.stop(None, [])
