"""Containers of a test's own, with real podman.

The fixture `podman_host` of a test module gives one::

    def test_x(podman_host: PodmanHost) -> None:
        port = servers.free_port()
        podman_host.image("nova", "1")
        node = podman_host.node()

Storage, configuration and the state of `service` commands are below a
directory of the test; the environment leads whatever is started there.
Images are small web servers that answer with their version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import resource
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client.client.service import (
    ServiceChange,
    ServiceInputs,
    ServiceNode,
    SwapPolicy,
)
from imageprep_client.observer import Observer
from tests import local_storage, servers
from tests.local_storage import BASE, LocalStorage

#: A service that answers with its version, and with $SECRET; $BROKEN is the
#: version that never answers. It takes no time to stop.
_SERVE = """#!/bin/sh
trap 'kill $!; exit 0' TERM
mkdir -p /srv
echo "{version} $SECRET" > /srv/index.html
{begin}
httpd -f -p 127.0.0.1:$PORT -h /srv &
wait
"""
#: Never answers, but runs.
_IDLE = """#!/bin/sh
trap 'kill $!; exit 0' TERM
sleep 100000 &
wait
"""
_NOTHING: Mapping[str, Any] = {}
#: For services that are healthy at once.
QUICK = SwapPolicy(min_healthy=0.1, healthy_deadline=30)


@dataclasses.dataclass
class PodmanHost:
    """Podman with storage of its own.

    :ivar environment: what leads programs there.
    """

    directory: Path
    storage: LocalStorage
    environment: Mapping[str, str]
    _made: dict[str, str] = dataclasses.field(default_factory=dict)

    def podman(self, *words: str, check: bool = True) -> str:
        """Run podman; what it prints."""
        done = subprocess.run(
            ["podman", *words], capture_output=True, text=True, check=False
        )
        assert not check or not done.returncode, done.stderr
        return done.stdout.strip()

    def image(
        self, name: str, version: str, *, script: str = "", begin: str = ""
    ) -> str:
        """Build an image in local storage, once; its reference.

        :param script: in place of the web server.
        :param begin: a line before it listens.
        """
        reference = f"localhost/{name}:{version}"
        text = script or _SERVE.format(version=version, begin=begin)
        if BASE not in self._made:
            self._made[self.storage.base()] = ""
        if self._made.get(reference) != text:
            files = {"/serve": text.encode()}
            self.storage.build(reference, files, base=BASE)
            self._made[reference] = text
        return reference

    def idle(self, name: str, version: str) -> str:
        """An image whose process runs and never answers."""
        return self.image(name, version, script=_IDLE)

    def push(self, reference: str, registry: servers.DockerRegistry) -> str:
        """Move a local image to a registry; its reference there."""
        remote = reference.replace("localhost", registry.host)
        self.podman("push", "--quiet", "--tls-verify=false", reference, remote)
        self.podman("rmi", "--force", reference)
        del self._made[reference]
        return remote

    def prune(self) -> None:
        """Remove the images that no container uses."""
        self.podman("image", "prune", "--all", "--force")
        self._made.clear()

    def declare(
        self, services: Mapping[str, Mapping[str, Any]], name: str = "d.yaml"
    ) -> str:
        """Write a declaration; its path."""
        path = self.directory / name
        path.write_text(yaml.safe_dump({"services": dict(services)}))
        return str(path)

    def inputs(
        self,
        services: Mapping[str, Mapping[str, Any]],
        parameters: Mapping[str, Any] = _NOTHING,
    ) -> ServiceInputs:
        """A declaration and an environment."""
        environment = self.directory / "environment.yaml"
        environment.write_text(
            yaml.safe_dump({"parameter_defaults": dict(parameters)})
        )
        return ServiceInputs(
            declaration=self.declare(services),
            environment_files=[str(environment)],
        )

    def node(self, observer: Observer | None = None) -> ServiceNode:
        """The client of this host's services."""
        return ServiceNode(observer=observer or Observer())

    def start(self, *inputs: Any) -> list[ServiceChange]:
        """Start the services of these `inputs`."""
        return self.node().start(self.inputs(*inputs), [], QUICK)

    def upgrade(self, *inputs: Any) -> list[ServiceChange]:
        """Upgrade the services of these `inputs`."""
        return self.node().upgrade(self.inputs(*inputs), [], QUICK)

    def inspect(self, name: str) -> dict[str, Any]:
        """A container, as podman shows it."""
        found: list[dict[str, Any]] = json.loads(
            self.podman("container", "inspect", name)
        )
        return found[0]

    def states(self) -> dict[str, str]:
        """The state of each container, leftovers included, by name."""
        told = self.podman("ps", "--all", "--external", "--format=json")
        return {one["Names"][0]: one["State"] for one in json.loads(told)}

    def running(self) -> set[str]:
        """The names of the containers that run."""
        states = self.states().items()
        return {name for name, state in states if state == "running"}

    def state_files(self) -> list[Path]:
        """The files that commands keep."""
        top = Path(self.environment["IMAGE_PREPARE_STATE"])
        return [path for path in top.rglob("*") if path.is_file()]

    def clear(self) -> None:
        """Remove all containers and what commands have kept."""
        identities = self.podman("ps", "--all", "--quiet").split()
        if identities:
            options = ("--force", "--ignore", "--depend", "--time=0")
            self.podman("rm", *options, *identities)
        shutil.rmtree(
            self.environment["IMAGE_PREPARE_STATE"], ignore_errors=True
        )


def answer(port: int, seconds: float = 60.0) -> str:
    """The answer of a service on the port; fails when there is none."""
    end = time.monotonic() + seconds
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as reply:
                text: str = reply.read().decode().strip()
                return text
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                raise
            # There is nothing to wait on: a container tells nobody.
            time.sleep(0.02)


def service(image: str, port: int, **more: Any) -> dict[str, Any]:
    """The declaration of a service of `PodmanHost.image`."""
    return {
        "image": image,
        "command": ["/bin/sh", "/serve"],
        "network": "host",
        "restart": "always",
        "stop_timeout": 5,
        "environment": {"PORT": str(port)},
        "health": {"http": f"http://127.0.0.1:{port}/", "interval": 0.1},
        **more,
    }


def mute(image: str, port: int, **more: Any) -> dict[str, Any]:
    """The declaration of a service that never answers, which is soon seen."""
    health = {"http": f"http://127.0.0.1:{port}/", "retries": 2}
    return service(image, port, health={**health, "interval": 0.1}, **more)


@contextlib.contextmanager
def podman_host(directory: Path) -> Iterator[PodmanHost]:
    """Podman below `directory`; the environment leads programs there."""
    with kept(directory) as host, used(host):
        yield host


@contextlib.contextmanager
def kept(directory: Path) -> Iterator[PodmanHost]:
    """Podman below `directory`; the caller says when it is used."""
    host = _make(directory)
    yield host
    with used(host):
        leftovers = _lasting(host)
        host.storage.empty()
    assert not leftovers, leftovers


def _lasting(host: PodmanHost) -> list[str]:
    """Leftovers, except for those that go away by themselves.

    The monitor of a container that ended starts a podman, beside which no
    other one unmounts the storage.
    """
    end = time.monotonic() + 20
    while (leftovers := host.storage.leftovers()) and time.monotonic() < end:
        host.podman("ps")
        time.sleep(0.1)
    return leftovers


def _make(directory: Path) -> PodmanHost:
    for program in ("podman", "buildah", "busybox"):
        assert shutil.which(program), f"{program} is not installed"
    storage = local_storage.make(directory / "storage")
    configuration = directory / "containers.conf"
    configuration.write_text(_configuration())
    registries = directory / "registries.conf"
    registries.write_text("unqualified-search-registries = []\n")
    environment = {
        **storage.environment,
        "CONTAINERS_CONF": str(configuration),
        "CONTAINERS_REGISTRIES_CONF": str(registries),
        "IMAGE_PREPARE_STATE": str(directory / "state"),
    }
    return PodmanHost(directory, storage, environment)


@contextlib.contextmanager
def used(host: PodmanHost) -> Iterator[None]:
    """Until the end of the block the environment leads programs there.

    No container is left.
    """
    with (
        local_storage.used(host.storage),
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in host.environment.items():
            patch.setenv(name, value)
        try:
            yield
        finally:
            host.clear()


def _configuration() -> str:
    """For machines that are containers or small virtual ones, too.

    crun refuses control groups of both versions at once, runc takes them.
    """
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = min(files, 20000)
    hybrid = Path("/sys/fs/cgroup/unified").is_dir()
    runtime = 'runtime = "runc"\n' if hybrid else ""
    assert not hybrid or shutil.which("runc"), "runc is not installed"
    return (
        "[containers]\n"
        f'default_ulimits = ["nofile={limit}:{limit}",'
        ' "nproc=32768:32768"]\n'
        'netns = "host"\n'
        "[engine]\n"
        'cgroup_manager = "cgroupfs"\n'
        'events_logger = "file"\n'
        f"{runtime}"
    )


def in_environment(host: PodmanHost) -> dict[str, str]:
    """All variables for a program that is to use this podman."""
    return {**os.environ, **host.environment}
