"""The commands of doc/source/user/services.rst, in their order."""

from __future__ import annotations

import re
import shlex
import socket
from pathlib import Path

import pytest
import yaml

from tests.functional.base import OpenStack
from tests.podman_host import PodmanHost

pytestmark = pytest.mark.needs_root

GUIDE = Path(__file__).parents[2] / "doc/source/user/services.rst"
_DECLARATION = re.compile(r"code-block:: yaml\n\n((?:   .*\n|\n)+)")
_COMMAND = re.compile(r"^    (openstack (?:.*\\\n)*.*)$", re.MULTILINE)


def declaration(broker: str) -> str:
    """That of the guide, with the directories and modules of this host."""
    match = _DECLARATION.search(GUIDE.read_text())
    assert match
    data = yaml.safe_load(match[1])
    for one in data["services"].values():
        del one["volumes"]
        one["command"] = ["/bin/sh", "/serve"]
        one["stop_timeout"] = 2
        one.get("preflight", {}).pop("modules", None)
        if "health" in one:
            one["health"]["command"] = ["true"]
        if "wait_for" in one:
            one["wait_for"]["tcp"] = broker
    text: str = yaml.safe_dump(data)
    return text


def test_commands(podman_host: PodmanHost, tmp_path: Path) -> None:
    """Each command of the guide does what the guide says."""
    openstack = OpenStack(tmp_path, **podman_host.environment)
    images = {
        "ContainerNovaComputeImage": podman_host.idle("compute", "1"),
        "ContainerNovaLibvirtImage": podman_host.idle("libvirt", "1"),
    }

    def write(**more: str) -> None:
        values = {**images, **more, "RpcPassword": "Zz9Secret"}
        (tmp_path / "images.yaml").write_text(
            yaml.safe_dump({"parameter_defaults": values})
        )

    with socket.create_server(("127.0.0.1", 0)) as broker:
        text = declaration(f"127.0.0.1:{broker.getsockname()[1]}")
        (tmp_path / "compute.yaml").write_text(text)
        write()
        openstack(
            *("image-prepare", "service", "start"),
            *("--declaration", "compute.yaml", "-e", "images.yaml"),
            stderr="(?s).*",
        )
        write(ContainerNovaComputeImage=podman_host.idle("compute", "2"))
        told = {}
        for line in _COMMAND.findall(GUIDE.read_text()):
            words = shlex.split(line.replace("\\\n", " "))[1:]
            done = openstack(*words, stderr="(?s).*")
            told[" ".join(words[2:4] + words[-1:])] = done
            assert "Zz9" not in done.stderr
    adopted = told["adopt nova_compute nova_libvirt"].stdout
    assert set(yaml.safe_load(adopted)["services"]) == {
        "nova_compute",
        "nova_libvirt",
    }
    assert "another image" in told["upgrade --declaration --dry-run"].stdout
    done = told["upgrade --declaration images.yaml"]
    assert "1 service replaced, 1 as declared" in done.summary
    back = told["rollback nova_compute nova_compute"]
    assert "back to generation 1" in back.stdout
    assert len(told) == 4
