"""The images that nodes of a role need."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.container import deployment
from imageprep_client.container.request import PrepareRequest
from imageprep_client.testing import content
from tests.recorder import Recorder
from tests.unit.container import stores

_SERVICES = "OS::TripleO::Services::"
_TABLE = """\
container_images_template:
- imagename: "{{namespace}}/api:{{tag}}"
  image_source: x
  params: [ContainerApiImage]
  services: [OS::TripleO::Services::Api]
- imagename: "{{namespace}}/compute:{{tag}}"
  image_source: x
  params: [ContainerComputeImage, ContainerLibvirtImage]
  services: [OS::TripleO::Services::Compute]
"""
_ROLES: list[dict[str, Any]] = [
    {"name": "Controller", "ServicesDefault": [f"{_SERVICES}Api"]},
    {
        "name": "Compute",
        "CountDefault": 1,
        "ServicesDefault": [f"{_SERVICES}Compute"],
    },
]


def images(
    directory: Path,
    wanted: list[str],
    *,
    roles: bool = True,
    entry: dict[str, Any] | None = None,
    registries: stores.Registries | None = None,
    **parameters: object,
) -> tuple[dict[str, list[str]], list[str]]:
    """The names of the images of roles, and of all."""
    values = {"namespace": "reg.example.com/ns", "tag": "1"}
    prepare = [{"set": values, "push_destination": "uc:8787", **(entry or {})}]
    defaults = {"ContainerImagePrepare": prepare, **parameters}
    environment = directory / "env.yaml"
    environment.write_text(json.dumps({"parameter_defaults": defaults}))
    (directory / "roles.yaml").write_text(json.dumps(_ROLES))
    (directory / "table.j2").write_text(_TABLE)
    inputs = deployment.read(
        PrepareRequest(
            environment_files=[str(environment)],
            roles_files=[str(directory / "roles.yaml")] if roles else [],
            template_file=str(directory / "table.j2"),
            release="master",
        ),
        None,
    )
    found, every = deployment.images_of_roles(
        inputs,
        wanted,
        source=(registries or stores.Registries()).source,
        undercloud_registry=lambda: "uc:8787",
        observer=Recorder(),
        concurrency=2,
    )
    return {role: list(map(str, own)) for role, own in found.items()}, list(
        map(str, every)
    )


def test_images_of_roles(tmp_path: Path) -> None:
    """A role has the images of its services, also without nodes so far; all
    images are those of the roles with nodes.
    """
    found, every = images(tmp_path, ["Controller", "Compute"])
    assert found == {
        "Controller": ["uc:8787/ns/api:1"],
        "Compute": ["uc:8787/ns/compute:1"],
    }
    assert every == ["uc:8787/ns/compute:1"]


def test_without_roles(tmp_path: Path) -> None:
    """All images are wanted where nobody names roles."""
    _, every = images(tmp_path, [], roles=False)
    assert every == ["uc:8787/ns/api:1", "uc:8787/ns/compute:1"]


def test_parameters_name_images(tmp_path: Path) -> None:
    """The images of a former run win over the entries; nothing is asked."""
    found, _ = images(
        tmp_path,
        ["Compute"],
        entry={"tag_from_label": "version"},
        ContainerComputeImage="uc:8787/ns/compute:1-modified",
        ContainerLibvirtImage="uc:8787/ns/libvirt:2",
    )
    assert found["Compute"] == [
        "uc:8787/ns/compute:1-modified",
        "uc:8787/ns/libvirt:2",
    ]


def test_entries_of_a_role(tmp_path: Path) -> None:
    """A role with entries of its own has the images of these."""
    own = {"set": {"namespace": "reg.example.com/own", "tag": "2"}}
    found, every = images(
        tmp_path, ["Controller", "Compute"], ComputeContainerImagePrepare=[own]
    )
    assert found == {
        "Controller": ["uc:8787/ns/api:1"],
        "Compute": ["reg.example.com/own/compute:2"],
    }
    assert every == ["uc:8787/ns/compute:1", *found["Compute"]]


def test_parameters_of_a_role(tmp_path: Path) -> None:
    """A parameter of the role wins over the same one of all roles."""
    found, _ = images(
        tmp_path,
        ["Compute"],
        ContainerComputeImage="uc:8787/ns/compute:1",
        ComputeParameters={"ContainerComputeImage": "uc:8787/own/compute:2"},
        ContainerLibvirtImage="uc:8787/ns/libvirt:2",
    )
    assert found["Compute"] == [
        "uc:8787/own/compute:2",
        "uc:8787/ns/libvirt:2",
    ]


def test_tags_are_discovered(tmp_path: Path) -> None:
    """Images without a value have the tag that a run would find."""
    registries = stores.Registries()
    image = content.image("compute", labels={"version": "7"})
    for tag in ("1", "7"):
        registries.fill(f"reg.example.com/ns/compute:{tag}", image)
    found, _ = images(
        tmp_path,
        ["Compute"],
        entry={"tag_from_label": "version"},
        registries=registries,
    )
    assert found["Compute"] == ["uc:8787/ns/compute:7"]


def test_unknown_role(tmp_path: Path) -> None:
    """A role that there is not is refused; the hint names the roles."""
    with pytest.raises(errors.InvalidArgument) as caught:
        images(tmp_path, ["Storage"])
    assert caught.value.hint == "roles: Compute, Controller"
