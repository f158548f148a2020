"""The playbooks for the machines of a whole deployment."""

from __future__ import annotations

import importlib.resources
import json
import pathlib
import sys

import pytest

from imageprep_client import ansible
from tests.lxc_containers import KEY, Containers
from tests.programs import run

SERVICES = ("keystone",)
HASHES = ("11111111", "22222222")


def test_services_are_archived_and_preloaded(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each service is exported once per host, and its image replaces the
    roots of all its containers, which keep their keys.
    """
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    hosts = {name: Containers(tmp_path / name) for name in ("h1", "h2")}
    inventory = write_inventory(tmp_path, hosts)
    data = importlib.resources.files("imageprep_client.machine") / "data"
    images = f"oci:{tmp_path}/images/"
    try:
        for name, direction in (("archive", "to"), ("preload", "from")):
            run(
                str(
                    pathlib.Path(sys.executable).with_name("ansible-playbook")
                ),
                f"--inventory={inventory}",
                f"--extra-vars=image_prepare_{direction}={images}",
                "--extra-vars=image_prepare_tag=1",
                str(data / f"{name}.yaml"),
            )
        for containers in hosts.values():
            for folder in containers.path.iterdir():
                assert containers.answer(folder.name) == f"1 {KEY}"
                assert list(folder.glob("rootfs~*"))
    finally:
        for containers in hosts.values():
            containers.stop_all()


def write_inventory(
    directory: pathlib.Path, hosts: dict[str, Containers]
) -> str:
    """A dynamic inventory as that of OpenStack-Ansible, of running
    containers.
    """
    program = pathlib.Path(sys.executable).with_name("openstack")
    variables: dict[str, dict[str, object]] = {}
    names: list[str] = []
    for host, containers in hosts.items():
        containers.path.mkdir()
        variables[host] = {
            **ansible.LOCAL,
            "image_prepare_store": str(containers.path),
            "image_prepare_command": [str(program), "image-prepare"],
        }
        for service in SERVICES:
            for number in HASHES:
                name = f"{host}-{service}-container-{number}"
                containers.add(name)
                containers.start(name)
                names.append(name)
                variables[name] = {"component": service, "physical_host": host}
    document = directory / "inventory.json"
    document.write_text(
        json.dumps(
            {
                "_meta": {"hostvars": variables},
                "lxc_hosts": {"hosts": list(hosts)},
                "all_containers": {"hosts": names},
            }
        )
    )
    path = directory / "inventory"
    path.write_text(f"#!/bin/sh\nexec cat '{document}'\n")
    path.chmod(0o700)
    return str(path)
