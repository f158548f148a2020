"""Refusals and repairs of service commands."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.service import UpgradeOptions
from imageprep_client.host import processes
from imageprep_client.observer import Observer
from imageprep_client.service.journal import StateDirectory
from tests import programs, sampling, servers
from tests.podman_host import (
    QUICK,
    PodmanHost,
    answer,
    in_environment,
    service,
)
from tests.servers import DockerRegistry

pytestmark = pytest.mark.needs_root

KILLS = range(min(50, int(os.environ.get("IMAGEPREP_KILLS", "1"))))
_OPENSTACK = Path(sys.executable).with_name("openstack")
#: Starts a child that stays in its control group, and names it.
_PARENT = """#!/bin/sh
trap 'kill $!; exit 0' TERM
printf '#!/bin/sh\\nsleep 100000\\n' > /bin/qemu-test
chmod 755 /bin/qemu-test
/bin/qemu-test &
sleep 100000 &
wait
"""


class Told(Observer):
    """Keeps what it is told.

    :ivar waited: set when a command waits.
    """

    def __init__(self) -> None:
        self.waits: list[str] = []
        self.warnings: list[str] = []
        self.waited = threading.Event()

    def waiting(self, what: str) -> None:
        self.waits.append(what)
        self.waited.set()

    def warning(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture
def images(podman_site: PodmanHost) -> list[str]:
    """Two versions of a service; a test prunes what no container uses."""
    return [podman_site.image("nova", version) for version in "12"]


def test_image_is_absent(
    podman_host: PodmanHost,
    images: list[str],
    registry: DockerRegistry,
    port: int,
) -> None:
    """Nothing is stopped when the digest of one image does not exist."""
    remote = podman_host.push(podman_host.image("pushed", "2"), registry)
    other = servers.free_port()
    node = podman_host.node()
    declared = {
        "one": service(images[0], port),
        "two": service(images[0], other),
    }
    podman_host.start(declared)
    before = {n: podman_host.inspect(n)["Id"] for n in declared}
    absent = f"{registry.host}/pushed@sha256:{'0' * 64}"
    wanted = podman_host.inputs(
        {"one": service(remote, port), "two": service(absent, other)}
    )
    with pytest.raises(errors.NotFound):
        node.upgrade(wanted, [], QUICK)
    assert {n: podman_host.inspect(n)["Id"] for n in declared} == before


def test_values_are_in_no_command_line(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A value of a parameter reaches the service, and only its 0600 file."""
    secret = 'Zz9 "secret" value'
    declared = service(
        images[0], port, env_from={"SECRET": {"parameter": "Password"}}
    )
    node = podman_host.node()
    podman_host.start({"one": declared}, {"Password": secret})
    assert answer(port) == f"1 {secret}"
    inputs = podman_host.inputs({"one": declared}, {"Password": "Zz9new"})
    (change,) = node.upgrade(inputs, [], QUICK)
    assert change.reason == "another environment"
    assert answer(port) == "1 Zz9new"
    found = podman_host.inspect("one")
    assert "Zz9" not in str(found["Config"]["CreateCommand"])
    with_values = [
        path
        for path in podman_host.state_files()
        if b"Zz9" in path.read_bytes()
    ]
    assert [path.name for path in with_values] == ["one.env"]
    assert with_values[0].stat().st_mode & 0o777 == 0o600
    node.rollback(["one"], 0, QUICK)
    assert answer(port) == f"1 {secret}"


def test_rollback_without_registry_and_images(
    podman_host: PodmanHost, port: int
) -> None:
    """The old image and the old environment survive a prune of all images."""
    old, new = (podman_host.image("pruned", version) for version in "12")
    values = podman_host.directory / "values.env"
    values.write_text("SECRET=before\n")
    more = {"env_file": [str(values)]}
    node = podman_host.node()
    podman_host.start({"one": service(old, port, **more)})
    values.write_text("SECRET=after\n")
    podman_host.upgrade({"one": service(new, port, **more)})
    assert answer(port) == "2 after"
    podman_host.prune()
    node.rollback(["one"], 0, QUICK)
    assert answer(port) == "1 before"


def test_survivor_is_named(podman_host: PodmanHost, port: int) -> None:
    """A process that the stop would end is named, and the service runs on."""
    image = podman_host.image("libvirt", "1", script=_PARENT)
    declared = {
        "image": image,
        "command": ["/bin/sh", "/serve"],
        "pid": "host",
        "survivors": ["qemu-*"],
        "stop_timeout": 2,
    }
    node = podman_host.node()
    podman_host.start({"virt": declared})
    deadline = time.monotonic() + 30
    while "qemu-test" not in podman_host.podman("top", "virt", "args"):
        assert time.monotonic() < deadline
    changed = podman_host.inputs({"virt": {**declared, "hostname": "other"}})
    with pytest.raises(errors.InvalidArgument, match=r"\d+ \(qemu-test\)"):
        node.upgrade(changed, [], QUICK)
    assert podman_host.running() == {"virt"}
    (change,) = node.upgrade(
        changed, [], QUICK, UpgradeOptions(kill_survivors=True)
    )
    assert change.action == "replace"


def test_dead_process_is_seen(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A service whose process is gone is dead, whatever podman says."""
    inputs = podman_host.inputs({"one": service(images[0], port)})
    node = podman_host.node()
    node.start(inputs, [], QUICK)
    state = podman_host.inspect("one")["State"]
    os.kill(state["ConmonPid"], signal.SIGKILL)
    os.kill(state["Pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while Path(f"/proc/{state['Pid']}/cmdline").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    (status,) = node.statuses()
    assert (status.state, status.alive) == ("dead", False)
    node.upgrade(inputs, [], QUICK)
    assert answer(port) == "1"


def test_one_waits_for_the_other(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """Of two upgrades at once one waits, and says for which process."""
    inputs = podman_host.inputs({"one": service(images[0], port)})
    first = podman_host.node()
    first.start(inputs, [], QUICK)
    told = Told()
    second = podman_host.node(told)
    with first._state.locked(lambda what: None):
        thread = threading.Thread(
            target=second.upgrade, args=(inputs, [], QUICK)
        )
        thread.start()
        assert told.waited.wait(60)
    thread.join(60)
    assert told.waits == [
        f"process {os.getpid()} changes services of this node"
    ]


class Impatient(Told):
    """Ends what is waited for.

    :param process: it.
    """

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        super().__init__()
        self._process = process

    def waiting(self, what: str) -> None:
        super().waiting(what)
        self._process.kill()
        self._process.wait()


def test_waits_for_programs_of_a_killed_command(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """They end before anything is changed."""
    inputs = podman_host.inputs({"one": service(images[0], port)})
    podman_host.node().start(inputs, [], QUICK)
    sleep = shutil.which("sleep")
    assert sleep
    program = podman_host.directory / "podman"
    shutil.copy(sleep, program)
    with subprocess.Popen(
        [program, "1000"], env={processes.MARK: mark(podman_host)}
    ) as left:
        told = Impatient(left)
        try:
            podman_host.node(told).stop(None, [])
        finally:
            left.kill()
    assert told.waits == [f"processes {left.pid} of an interrupted command"]


def mark(host: PodmanHost) -> str:
    """The mark of programs that service commands started."""
    top = Path(host.environment["IMAGE_PREPARE_STATE"])
    (directory,) = top.glob("storage-*")
    return StateDirectory(directory).mark


def test_host_is_not_ready(
    podman_host: PodmanHost, images: list[str], port: int
) -> None:
    """A kernel module that is not loaded is named before anything stops."""
    declared = service(
        images[0], port, preflight={"modules": ["no_such_module"]}
    )
    with pytest.raises(errors.InvalidArgument, match="no_such_module"):
        podman_host.upgrade({"one": declared})
    assert not podman_host.states()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"podman_args": ["--no-such-option"]}, "unknown flag"),
        ({"volumes": ["/no/such/path:/x"]}, "no such file or directory"),
    ],
)
def test_podman_refuses(
    podman_host: PodmanHost,
    images: list[str],
    port: int,
    more: dict[str, object],
    told: str,
) -> None:
    """Options that podman refuses are found before anything stops."""
    node = podman_host.node()
    podman_host.start({"one": service(images[0], port)})
    before = podman_host.inspect("one")["Id"]
    wanted = podman_host.inputs({"one": service(images[1], port, **more)})
    with pytest.raises(errors.StoreError, match=f"^one: podman .*{told}"):
        node.upgrade(wanted, [], QUICK)
    assert podman_host.states() == {"one": "running"}
    assert podman_host.inspect("one")["Id"] == before


def test_downgrade(podman_host: PodmanHost, port: int) -> None:
    """An image of an older version is only taken when that is allowed."""
    label = "org.opencontainers.image.version"
    references = []
    for version in ("10.2", "9.8"):
        base = podman_host.image("versioned", version)
        reference = f"localhost/labelled:{version}"
        podman_host.storage.build(
            reference, {"/x": b""}, base=base, labels={label: version}
        )
        references.append(reference)
    new, old = references
    node = podman_host.node()
    podman_host.start({"one": service(new, port)})
    wanted = podman_host.inputs({"one": service(old, port)})
    with pytest.raises(errors.InvalidArgument, match=r"9\.8, older than 10"):
        node.upgrade(wanted, [], QUICK)
    node.upgrade(wanted, [], QUICK, UpgradeOptions(allow_downgrade=True))
    assert answer(port) == "9.8"


def test_start_waits(podman_host: PodmanHost, images: list[str]) -> None:
    """A service is started after what it waits for, and stopped before."""
    first, second = servers.free_port(), servers.free_port()
    inputs = podman_host.inputs(
        {
            "glance": service(
                images[0],
                second,
                depends_on=["keystone"],
                wait_for={"tcp": f"127.0.0.1:{first}", "interval": 0.1},
            ),
            "keystone": service(images[0], first),
        }
    )
    node = podman_host.node()
    started = node.start(inputs, [], QUICK)
    assert [one.service for one in started] == ["keystone", "glance"]
    stopped = node.stop(None, [])
    assert [one.service for one in stopped] == ["glance", "keystone"]
    assert podman_host.running() == set()


@pytest.mark.parametrize("reboot", sampling.some([True, False], 2))
@pytest.mark.parametrize("seed", KILLS)
def test_killed_at_any_moment(
    podman_host: PodmanHost, images: list[str], seed: int, reboot: bool
) -> None:
    """All is as declared when a killed command runs again."""
    ports = [servers.free_port() for _ in range(3)]
    declared = [
        {f"s{p}": service(image, p) for p in ports} for image in images
    ]
    paths = [
        podman_host.declare(one, f"{number}.yaml")
        for number, one in enumerate(declared)
    ]

    def words(path: str) -> list[str]:
        return [
            str(_OPENSTACK),
            *("image-prepare", "service", "upgrade", "--declaration", path),
            *("--min-healthy", "0.05"),
        ]

    environment = in_environment(podman_host)
    begun = time.monotonic()
    programs.run(*words(paths[0]), env=environment)
    whole = time.monotonic() - begun
    process = subprocess.Popen(
        words(paths[1]),
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    share = random.Random(seed).uniform(0.2, 1.3)  # noqa: S311 - a moment
    time.sleep(share * whole)
    process.kill()
    process.wait()
    if reboot:
        # No program outlives it. A container that is started while podman
        # 4.3 removes it may run on when it is gone, with its port.
        processes.wait_for_marked(
            mark(podman_host), "podman", lambda what: None
        )
        podman_host.podman(
            "start", "--all", "--filter=restart-policy=always", check=False
        )
    done = subprocess.run(
        words(paths[1]),
        check=False,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    assert [answer(one) for one in ports] == ["2", "2", "2"]
    assert podman_host.running() == {f"s{one}" for one in ports}
    assert set(podman_host.states().values()) <= {"running", "created"}
    assert not re.findall(
        "journal", " ".join(p.name for p in podman_host.state_files())
    )
