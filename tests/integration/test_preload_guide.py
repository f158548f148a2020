"""The commands of doc/source/user/preload.rst, in their order."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.testing import images
from imageprep_client.testing.registry import RegistryServer
from tests import inventory_nodes
from tests.functional.base import OpenStack
from tests.inventory_nodes import Nodes

pytestmark = pytest.mark.needs_root

_GUIDE = Path(__file__).parents[2] / "doc/source/user/preload.rst"
_GROUPS = {
    "compute": ["compute-0"],
    "edge1": ["compute-0"],
    "control": ["control-0"],
    "controllers": ["control-0"],
    "edge2": ["control-0"],
}
_NAMES = ("nova-compute", "nova-api", "keystone")
_SERVICES = "OS::TripleO::Services::"
_TABLE = """\
container_images_template:
- imagename: "{{namespace}}/keystone:{{tag}}"
  image_source: kolla
  params: [ContainerKeystoneImage]
  services: [OS::TripleO::Services::Keystone]
- imagename: "{{namespace}}/nova-api:{{tag}}"
  image_source: kolla
  params: [ContainerNovaApiImage]
  services: [OS::TripleO::Services::NovaApi]
- imagename: "{{namespace}}/nova-compute:{{tag}}"
  image_source: kolla
  params: [ContainerNovaComputeImage]
  services: [OS::TripleO::Services::NovaCompute]
"""


class Reader:
    """A reader of the guide, with nodes and registries of their own."""

    def __init__(
        self,
        openstack: OpenStack,
        nodes: Nodes,
        source: RegistryServer,
        edges: list[RegistryServer],
    ) -> None:
        self.openstack, self.nodes, self.source = openstack, nodes, source
        found = images.overcloud(
            {f"ns/{name}": ("1",) for name in _NAMES}, unique_bytes=50_000
        )
        images.write(found.images, source.content.store)
        self.names = [f"{source.host}/ns/{name}:1" for name in _NAMES]
        home = openstack.home
        (home / "hosts.yaml").symlink_to(nodes.inventory)
        (home / "compute.txt").write_text(f"{self.names[0]}\n")
        (home / "control.txt").write_text("\n".join(self.names[1:]))
        (home / "table.j2").write_text(_TABLE)
        values = {"namespace": f"{source.host}/ns", "tag": "1"}
        entry = {"push_destination": "uc.example.com:8787", "set": values}
        self._environment("containers-prepare-parameter", [entry])
        self._environment("images", None)
        roles = [
            {
                "name": name,
                "CountDefault": 1,
                "ServicesDefault": [f"{_SERVICES}{one}" for one in services],
            }
            for name, services in (
                ("Compute", ["NovaCompute"]),
                ("Controller", ["NovaApi", "Keystone"]),
            )
        ]
        (home / "roles_data.yaml").write_text(json.dumps(roles))
        text = _GUIDE.read_text().replace("\\\n", "")
        for number, edge in enumerate(edges, 1):
            name = f"registry.edge{number}.example.com:5000"
            text = text.replace(name, edge.host)
        self.commands = [
            shlex.split(line)[1:]
            for line in re.findall(r"(?m)^   (openstack .*)$", text)
        ]

    def _environment(self, name: str, prepare: object) -> None:
        """An environment; without entries it has what a run writes."""
        defaults: dict[str, object] = {"ContainerImagePrepare": prepare}
        if prepare is None:
            defaults = {
                "ContainerNovaComputeImage": self.names[0],
                "ContainerNovaApiImage": self.names[1],
                "ContainerKeystoneImage": self.names[2],
            }
        (self.openstack.home / f"{name}.yaml").write_text(
            json.dumps({"parameter_defaults": defaults})
        )

    def run(self, *words: str) -> str:
        """Run a command; it says what it likes to."""
        return self.openstack(*words, stderr=r"[\s\S]*").stdout

    def have(self) -> dict[str, set[str]]:
        """The names of the images on the nodes."""
        return {
            name: set(self.nodes.images(name))
            for name in ("compute-0", "control-0")
        }

    @property
    def wanted(self) -> dict[str, set[str]]:
        """Those that they are to have."""
        return {"compute-0": {self.names[0]}, "control-0": set(self.names[1:])}

    def forget(self) -> None:
        """Have no image on the nodes."""
        for name in self.wanted:
            self.nodes.podman(name, "rmi", "--all", "--force")


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    openstack = OpenStack(tmp_path / "home")
    with (
        RegistryServer() as source,
        RegistryServer() as one,
        RegistryServer() as two,
        inventory_nodes.nodes(tmp_path / "nodes", _GROUPS) as nodes,
    ):
        yield Reader(openstack, nodes, source, [one, two])


def test_commands(reader: Reader) -> None:
    """Each command of the guide does what the guide says, and its deployment
    may be in a plan.
    """
    plan, rack, status, deployment, edge = reader.commands
    told = r"[\s\S]*; a run would take about [\s\S]*"
    assert "compute-0" in reader.openstack(*plan, stderr=told).stdout
    assert not any(reader.have().values())
    reader.run(*rack)
    assert reader.have() == reader.wanted
    shown = json.loads(reader.run(*status, "-f", "json"))
    assert {row["State"] for row in shown} == {"done"}
    told = r"[\s\S]*; nothing is missing; nothing was changed\s*"
    reader.openstack(*plan, stderr=told)

    reader.forget()
    reader.run(*deployment, "--template-file", "table.j2")
    assert reader.have() == reader.wanted

    reader.forget()
    pattern = "/blobs/sha256:"
    before = len(reader.source.requests("GET", pattern))
    reader.run(*edge)
    assert reader.have()["compute-0"] == reader.wanted["compute-0"]
    requests = reader.source.requests("GET", pattern)[before:]
    paths = [request.path for request in requests]
    assert len(paths) == len(set(paths))


def test_plan(reader: Reader) -> None:
    """A plan says what a role needs, as its files do."""
    plan = reader.openstack.home / "plan"
    plan.mkdir()
    for name in ("roles_data", "images", "containers-prepare-parameter"):
        path = reader.openstack.home / f"{name}.yaml"
        (plan / path.name).write_text(path.read_text())
    environments = ["containers-prepare-parameter.yaml", "images.yaml"]
    document = {
        "version": 1.0,
        "name": "overcloud",
        "template": "overcloud.yaml",
        "environments": [{"path": name} for name in environments],
    }
    (plan / "plan-environment.yaml").write_text(json.dumps(document))
    told = reader.run(
        *("image-prepare", "preload", "plan", "--inventory", "hosts.yaml"),
        *("--plan-dir", "plan", "--template-file", "table.j2"),
        *("--group", "compute=Compute", "--group", "control=Controller"),
        *("-f", "json"),
    )
    assert {row["Host"]: row["Images"] for row in json.loads(told)} == {
        "compute-0": 1,
        "control-0": 2,
    }
