"""The machines of a whole deployment: archive and preload."""

from __future__ import annotations

import json
import pathlib
import re
import sys
import tarfile
import time
from collections.abc import Callable

from imageprep_client import ansible
from imageprep_client.client.machine import deployment
from imageprep_client.client.machine.deployment import (
    DeploymentRequest,
    MachineRow,
)
from tests import servers
from tests.functional.base import OpenStack
from tests.lxc_containers import KEY, Containers

SERVICES = ("keystone", "nova_api")
PER_HOST = 4
#: Where twelve secrets of a container are, and what they contain.
SECRETS = {
    "etc/keystone/fernet-keys/0": KEY,
    "etc/keystone/fernet-keys/1": "secret-of-fernet",
    "etc/keystone/credential-keys/0": "secret-of-credentials",
    "etc/ssh/ssh_host_rsa_key": "secret-of-the-host",
    "root/.ssh/id_rsa": "secret-of-ssh",
    "root/.my.cnf": "[client]\npassword = secret-of-mysql\n",
    "root/openrc": "export OS_PASSWORD=secret-of-openrc\n",
    "root/.config/openstack/clouds.yaml": "password: secret-of-clouds\n",
    "etc/mysql/debian.cnf": "password = secret-of-debian\n",
    "etc/nova/nova.conf": "[database]\nconnection = x://n:secret-of-nova@h\n",
    "etc/shadow": "root:secret-of-shadow:1:::::\n",
    "var/log/keystone/keystone.log": "secret-of-the-log",
}


def test_a_deployment_is_archived_and_preloaded(
    tmp_path: pathlib.Path,
) -> None:
    """Of 24 containers on three hosts each service gives one image, without
    secrets; it replaces 24 containers of three other hosts, which keep their
    secrets, and what is done is left alone by the next call.
    """
    old = ["h1", "h2", "h3"]
    new = ["h4", "h5", "h6"]
    inventory = write_inventory(tmp_path, [*old, *new])
    image = f"{tmp_path}/images/{{service}}-{{release}}.tar"
    (tmp_path / "images").mkdir()
    running = {
        Containers(tmp_path / f"h{1 + number % 3}"): name_of(
            f"h{1 + number % 3}", service, 1
        )
        for number, service in enumerate(SERVICES)
    }
    try:
        for containers, name in running.items():
            containers.start(name)
        first = archive(inventory, image, "old")
        again = archive(inventory, image, "h1:h2")
        replaced = preload(inventory, image, "new")
        idle = preload(inventory, image, "h4")
    finally:
        for containers in running:
            containers.stop_all()
    assert count(first) == {"exported": 2, "left": 22}
    assert [row.name for row in first if row.state == "exported"] == sorted(
        running.values()
    )
    assert count(again) == {"present": 2, "left": 14}
    archives = list((tmp_path / "images").glob("*.tar"))
    assert len(archives) == len(SERVICES)
    for path in archives:
        content = path.read_bytes()
        for text in SECRETS.values():
            secret = (re.findall("secret-of-[a-z]+", text) or [text])[0]
            assert secret.encode() not in content
        with tarfile.open(path) as members:
            release = members.extractfile("./release")
            assert release is not None
            assert release.read() == b"old"
    assert count(replaced) == {"replaced": 24}
    for row in replaced:
        root = tmp_path / row.host / row.name / "rootfs"
        assert (root / "release").read_text() == "old"
        keys = root / "etc/keystone/fernet-keys/1"
        assert keys.read_text() == SECRETS["etc/keystone/fernet-keys/1"]
    assert count(idle) == {"present": 8}


def test_a_registry_running_targets_and_a_kill(tmp_path: pathlib.Path) -> None:
    """Containers of two hosts go by a registry into running ones of two
    others. The commands are killed in the middle; the next call does what is
    missing, all targets answer with their own keys, and a last call fetches
    nothing.
    """
    old, new = ["h1", "h2"], ["h3", "h4"]
    inventory = write_inventory(tmp_path, [*old, *new])
    openstack = OpenStack(tmp_path / "home")
    machines = [Containers(tmp_path / host) for host in (*old, *new)]
    with servers.docker_registry(
        tmp_path / "registry", access_log=True
    ) as registry:
        image = f"{registry.host}/osa/{{service}}:{{release}}"
        words = ("--inventory", inventory, "--release", "1", "-f", "json")
        try:
            for number, containers in enumerate(machines):
                for service in SERVICES:
                    for copy in range(1, 3 if number >= 2 else 2):
                        host = containers.path.name
                        containers.start(name_of(host, service, copy))
            archived = ("archive", "--to", image, "--hosts", "old", *words)
            kill(
                openstack,
                archived,
                lambda: any(registry.directory.rglob("_uploads/*")),
            )
            first = told(openstack, *archived)
            assert first.pop("left") == 14
            assert set(first) <= {"exported", "present"}
            preloaded = ("preload", "--from", image, "--hosts", "new", *words)
            kill(
                openstack,
                preloaded,
                lambda: any(tmp_path.glob("h[34]/*/rootfs~*")),
            )
            second = told(openstack, *preloaded)
            assert set(second) <= {"replaced", "present"}
            assert sum(second.values()) == 16
            before = len(registry.requests("^GET .*/blobs/"))
            assert told(openstack, *preloaded) == {"present": 16}
            assert len(registry.requests("^GET .*/blobs/")) == before
            for containers in machines[2:]:
                for service in SERVICES:
                    for copy in (1, 2):
                        name = name_of(containers.path.name, service, copy)
                        assert containers.answer(name) == f"old {KEY}"
        finally:
            for containers in machines:
                containers.stop_all()


def kill(
    openstack: OpenStack, words: tuple[str, ...], is_time: Callable[[], bool]
) -> None:
    """Start a command, and kill it when it is time."""
    process = openstack.start("image-prepare", "machine", *words)
    while process.poll() is None and not is_time():
        time.sleep(0.01)
    process.kill()
    process.communicate()


def told(openstack: OpenStack, *words: str) -> dict[str, int]:
    """Run a command to its end; how many containers have each state."""
    done = openstack("image-prepare", "machine", *words, stderr="(?s).*")
    states = [row["State"] for row in json.loads(done.stdout)]
    return {state: states.count(state) for state in set(states)}


def name_of(host: str, service: str, number: int) -> str:
    """The name of a container, as OpenStack-Ansible makes it."""
    return f"{host}_{service}_container-0000000{number}"


def count(rows: list[MachineRow]) -> dict[str, int]:
    """How many containers have each state."""
    states = [str(row.state) for row in rows]
    return {state: states.count(state) for state in set(states)}


def archive(inventory: str, image: str, hosts: str) -> list[MachineRow]:
    """Archive some hosts."""
    request = DeploymentRequest(inventory, image, "1", hosts)
    return deployment.archive(request, lambda row: None)


def preload(inventory: str, image: str, hosts: str) -> list[MachineRow]:
    """Preload some hosts."""
    request = DeploymentRequest(inventory, image, "1", hosts)
    return deployment.preload(request, lambda row: None)


def write_inventory(directory: pathlib.Path, hosts: list[str]) -> str:
    """The inventory of OpenStack-Ansible, a JSON file, of containers in an
    lxcpath for each host.
    """
    program = pathlib.Path(sys.executable).with_name("openstack")
    variables: dict[str, dict[str, object]] = {}
    for number, host in enumerate(hosts):
        containers = Containers(directory / host)
        containers.path.mkdir()
        variables[host] = {
            **ansible.LOCAL,
            "image_prepare_store": str(containers.path),
            "image_prepare_command": [str(program), "image-prepare"],
            "image_prepare_environment": {
                "XDG_STATE_HOME": str(directory / "state")
            },
        }
        release = "old" if number < len(hosts) / 2 else "new"
        if release == "new":
            variables[host]["image_prepare_options"] = ["--no-verify"]
        for service in SERVICES:
            for copy in range(1, PER_HOST + 1):
                name = name_of(host, service, copy)
                root = containers.add(name, release=release)
                for path, text in SECRETS.items():
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).write_text(text)
                variables[name] = {
                    "component": service,
                    "physical_host": host,
                    "properties": {"is_metal": False},
                }
    half = len(hosts) // 2
    document = {
        "_meta": {"hostvars": variables},
        "old": {"hosts": hosts[:half]},
        "new": {"hosts": hosts[half:]},
        "all_containers": {
            "hosts": [name for name in variables if name not in hosts]
        },
    }
    written = directory / "openstack_inventory.json"
    written.write_text(json.dumps(document))
    return str(written)
