"""The shipped playbook upgrades the services of nodes, some at a time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import inventory_nodes, servers
from tests.inventory_nodes import Nodes
from tests.podman_host import PodmanHost
from tests.servers import DockerRegistry

pytestmark = pytest.mark.needs_root

PLAYBOOK = "upgrade-services.yaml"
_NODES = ("n1", "n2")
_ENDS = "#!/bin/sh\nexit 3\n"


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[DockerRegistry]:
    with servers.docker_registry(tmp_path / "registry") as found:
        yield found


@pytest.fixture
def nodes(podman_host: PodmanHost, tmp_path: Path) -> Iterator[Nodes]:
    with inventory_nodes.nodes(tmp_path, {"Compute": _NODES}) as found:
        yield found
        for name in _NODES:
            found.podman(name, "rm", "--all", "--force", "--time=0")


def upgrade(nodes: Nodes, directory: Path, image: str) -> tuple[int, str]:
    """Run the playbook as its first lines say; its status and output."""
    declared: dict[str, Any] = {
        "parameter": "ContainerNovaComputeImage",
        "command": ["/bin/sh", "/serve"],
        "network": "none",
        "env_from": {"SECRET": {"parameter": "RpcPassword"}},
        "stop_timeout": 1,
    }
    (directory / "compute.yaml").write_text(
        yaml.safe_dump({"services": {"nova_compute": declared}})
    )
    values = {"ContainerNovaComputeImage": image, "RpcPassword": "Zz9Secret"}
    (directory / "images.yaml").write_text(
        yaml.safe_dump({"parameter_defaults": values})
    )
    more = {
        "options": ["--min-healthy=0.1", "--healthy-deadline=5"],
        "directory": str(directory / "etc"),
    }
    programs = Path(sys.executable).parent
    with resources.as_file(
        resources.files("imageprep_client.service") / "data" / PLAYBOOK
    ) as playbook:
        done = subprocess.run(
            [
                *("ansible-playbook", "-v", "-i", str(nodes.inventory)),
                *(str(playbook), "-e", "declaration=compute.yaml"),
                *("-e", "environment_file=images.yaml", "-e", "nodes=Compute"),
                *("-e", "batch=1", "-e", json.dumps(more)),
            ],
            cwd=directory,
            env={
                **os.environ,
                "PATH": f"{programs}:{os.environ['PATH']}",
                "PWD": str(directory),
            },
            capture_output=True,
            text=True,
            check=False,
        )
    return done.returncode, done.stdout + done.stderr


def versions(nodes: Nodes) -> list[str]:
    """The image that runs on each node; empty for none."""
    form = "--format={{.Image}}"
    told = (nodes.podman(n, "ps", form).strip() for n in _NODES)
    return [one.partition("@")[0].rpartition("/")[2] for one in told]


def test_batches(
    podman_host: PodmanHost,
    nodes: Nodes,
    registry: DockerRegistry,
    tmp_path: Path,
) -> None:
    """All nodes get an image; only the first batch sees a bad one."""
    new = podman_host.push(podman_host.idle("new", "2"), registry)
    bad = podman_host.push(
        podman_host.image("bad", "3", script=_ENDS), registry
    )
    status, told = upgrade(nodes, tmp_path, new)
    assert status == 0, told
    assert "Zz9" not in told
    assert versions(nodes) == ["new"] * 2
    status, told = upgrade(nodes, tmp_path, bad)
    assert status == 2, told
    assert told.count("fatal: [") == 1
    assert "the old containers were restored: nova_compute" in told
    assert versions(nodes) == ["new"] * 2
    form = "--format={{.Repository}}"
    pulled = ["/bad" in nodes.podman(n, "images", form) for n in _NODES]
    assert pulled == [True, False]
