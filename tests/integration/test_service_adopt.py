"""Adopted and rendered again, a definition is the same container."""

from __future__ import annotations

import copy
import dataclasses
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from imageprep_client.programs.podman import Podman
from imageprep_client.service.declaration import Service
from imageprep_client.service.definitions import (
    adopting,
    commandline,
    paunch,
    quadlet,
    rendering,
)
from tests import node_definitions, sampling
from tests.podman_host import PodmanHost

pytestmark = pytest.mark.needs_root

#: Every so many definitions are tried.
_STEP = 4
#: What differs between any two containers.
_OWN = (
    *("Id", "Created", "State", "GraphDriver", "ResolvConfPath", "PidFile"),
    *("HostnamePath", "HostsPath", "StaticDir", "OCIConfigPath"),
    "lockNumber",
    "ConmonPidFile",
)
#: What podman sets of its own command line only.
_CLI = ("CreateCommand", "sdNotifyMode")


@pytest.fixture(scope="module")
def image(podman_site: PodmanHost) -> str:
    return podman_site.idle("defined", "1")


@pytest.fixture(scope="module")
def complete(podman_site: PodmanHost, image: str) -> str:
    """The image with a command of its own, as those of EDPM are."""
    name = "localhost/complete:1"
    podman_site.podman("create", "--name=commanded", image, "true")
    change = '--change=CMD ["/bin/sh", "/serve"]'
    podman_site.podman("commit", "--quiet", change, "commanded", name)
    podman_site.podman("rm", "commanded")
    return name


def shown(container: dict[str, Any]) -> dict[str, Any]:
    """All that makes a container the same as another one."""
    data = copy.deepcopy(container)
    for key in _OWN:
        data.pop(key, None)
    config = data["Config"]
    for key in _CLI:
        config.pop(key, None)
    config["Env"].sort()
    config["Annotations"] = {
        key: value
        for key, value in (config["Annotations"] or {}).items()
        if not key.startswith("io.kubernetes.cri-o")
        and key != "io.container.manager"
    }
    if config["Hostname"] == container["Id"][:12]:
        config["Hostname"] = ""
        config["Env"] = [
            one for one in config["Env"] if not one.startswith("HOSTNAME=")
        ]
    data["Mounts"].sort(key=lambda mount: mount["Destination"])
    data["HostConfig"]["Binds"].sort()
    data["HostConfig"]["LogConfig"]["Path"] = ""
    return data


def again(podman: Podman, service: Service) -> dict[str, Any]:
    """Create a service's container in place of that of its name."""
    old = podman.container(service.name)
    if old:
        podman.remove(old.id, seconds=0)
    podman.create(rendering.words(service, service.image), {})
    return dict(podman.container(service.name).data)


def check_adopted(podman: Podman, name: str) -> None:
    """Adopt a container, render it, and compare both."""
    container = podman.container(name)
    service = adopting.adopt(container, podman.image(container.image_id))
    assert shown(again(podman, service)) == shown(dict(container.data))


def test_tripleo(podman_host: PodmanHost, image: str, tmp_path: Path) -> None:
    """The same comes of a startup configuration and of its containers."""
    path = tmp_path / "step_4.json"
    path.write_text(
        json.dumps(
            {
                name: {**definition, "image": image}
                for name, definition in node_definitions.TRIPLEO.items()
            }
        )
    )
    services = paunch.load(str(path))
    assert len(services) == 20
    podman = Podman()
    for service in sampling.some(services.values(), _STEP):
        again(podman, service)
        check_adopted(podman, service.name)


@pytest.mark.parametrize("name", sampling.some(node_definitions.EDPM, _STEP))
def test_quadlet(
    podman_host: PodmanHost, complete: str, tmp_path: Path, name: str
) -> None:
    """A Quadlet file, adopted and rendered as one, is the same container."""
    path = tmp_path / f"edpm_{name}.container"
    path.write_text(node_definitions.quadlet(name, complete))
    service = quadlet.load(str(path))
    assert (service.name, service.image) == (name, complete)
    path.write_text(quadlet.render(service, service.image, []))
    found = quadlet.load(str(path))
    assert found.same_container(service)
    assert found.environment == service.environment
    assert found.options == service.options
    podman = Podman()
    before = shown(again(podman, service))
    check_adopted(podman, name)
    assert shown(again(podman, found)) == before


def test_options_of_quadlet(tmp_path: Path) -> None:
    """Options that Quadlet adds are left out; systemd outwaits podman."""
    service = Service(
        name="one",
        options={"stop_timeout": 60, "restart": "always"},
        podman_args=("--cgroups=split", "--sdnotify=conmon", "--init"),
    )
    lines = quadlet.render(service, "localhost/x:1", []).splitlines()
    assert [line for line in lines if "PodmanArgs" in line] == [
        "PodmanArgs=--stop-timeout=60",
        "PodmanArgs=--init",
    ]
    assert "TimeoutStopSec=70" in lines


@pytest.fixture
def api(podman_host: PodmanHost) -> Iterator[Path]:
    """The socket of podman's API."""
    path = podman_host.directory / "api.sock"
    path.unlink(missing_ok=True)
    with subprocess.Popen(
        ["podman", "system", "service", "--time=0", f"unix://{path}"]
    ) as process:
        end = time.monotonic() + 30
        while not _listens(path):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        yield path
        process.terminate()


def _listens(path: Path) -> bool:
    """Whether a socket of this host takes connections."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class Connection(http.client.HTTPConnection):
    """To a socket of this host."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost")
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(str(self.path))


def test_api(podman_host: PodmanHost, image: str, api: Path) -> None:
    """Containers of podman's API are the same, rendered from inspect."""
    podman = Podman()
    for definition in sampling.some(node_definitions.KOLLA, _STEP):
        connection = Connection(api)
        connection.request(
            "POST",
            "/v4.0.0/libpod/containers/create",
            json.dumps({**definition, "image": image}),
            {"Content-Type": "application/json"},
        )
        answer = connection.getresponse()
        assert answer.status == 201, answer.read()
        connection.close()
        assert not podman.container(definition["name"]).create_command
        check_adopted(podman, definition["name"])


def test_verbatim_options(podman_host: PodmanHost, image: str) -> None:
    """Options without a key, and short ones, give the same container."""
    words = (
        *("-it", "--name", "any", "-e", "A=b=c", "-eD=e f", "-l=x=y", "-u"),
        *("1:2", "--net", "host", "-v", "/srv:/x:ro", "-w/srv", "-m", "64m"),
        *("--pids-limit", "77", "--dns=192.0.2.1", "--no-hosts=false"),
        *("--health-cmd", "true -x", "--restart", "on-failure:3"),
    )
    podman = Podman()
    podman_host.podman("create", *words, image, "a", "--b")
    check_adopted(podman, "any")


def test_drift_of_nothing(podman_host: PodmanHost, image: str) -> None:
    """A rendered service is read as it was declared."""
    service = Service(
        name="one",
        image=image,
        command=("a", "-b", "c d"),
        options={
            "privileged": True,
            "network": ("host",),
            "labels": {"k": "v=w", "empty": ""},
            "stop_timeout": 7,
            "cap_add": ("NET_ADMIN", "SYS_NICE"),
        },
        environment={"A": "line\nbreak"},
        env_file=("/srv/x.env",),
        podman_args=("--init", "--cpu-shares=3"),
    )
    parsed = commandline.parse(
        ["podman", "create", *rendering.words(service, image)], "one"
    )
    assert dataclasses.replace(parsed.service, image=parsed.image) == service
