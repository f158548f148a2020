"""``machine preload`` over an inventory that does not fit its hosts."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from imageprep_client import ansible
from tests.functional.base import OpenStack
from tests.lxc_containers import Containers

pytestmark = pytest.mark.needs_root
PRELOAD = ("image-prepare", "machine", "preload")


def write_inventory(
    openstack: OpenStack, variables: Mapping[str, object]
) -> str:
    """The inventory of OpenStack-Ansible with these hosts."""
    path = openstack.home / "openstack_inventory.json"
    document = {
        "_meta": {"hostvars": variables},
        "all_containers": {"hosts": list(variables)},
    }
    path.write_text(json.dumps(document))
    return str(path)


def test_containers_that_are_gone(
    openstack: OpenStack, tmp_path: Path
) -> None:
    """A container that its host does not have, and one of a host that the
    inventory does not have, fail alone.
    """
    containers = Containers(tmp_path / "lxc")
    root = containers.add("h1-x-container-1", release="old")
    image = tmp_path / "images/x.tar"
    image.parent.mkdir()
    openstack(
        *("image-prepare", "machine", "export", "h1-x-container-1"),
        *("--store", str(containers.path), "--to", str(image)),
        stderr="(?s).*",
    )
    (root / "release").write_text("changed")
    program = Path(sys.executable).with_name("openstack")
    inventory = write_inventory(
        openstack,
        {
            "h1": {
                **ansible.LOCAL,
                "image_prepare_command": [str(program), "image-prepare"],
                "image_prepare_store": str(containers.path),
                "image_prepare_options": ["--no-verify"],
            },
            **{
                f"{host}-x-container-{number}": {
                    "component": "x",
                    "physical_host": host,
                }
                for host, number in (("h1", 0), ("h1", 1), ("h9", 2))
            },
        },
    )
    done = openstack(
        *(*PRELOAD, "--inventory", inventory, "-f", "json"),
        *("--from", f"{image.parent}/{{service}}.tar"),
        status=1,
        stderr="(?s).*2 of 3 containers failed.*",
    )
    assert [
        (row["State"], row["Detail"]) for row in json.loads(done.stdout)
    ] == [
        ("failed", f"no machine of this name in {containers.path}"),
        ("replaced", None),
        ("failed", "h9 is not in the inventory"),
    ]
    assert (root / "release").read_text() == "old"


def test_no_host_is_known(openstack: OpenStack) -> None:
    """Nothing is changed when all hosts of containers are unknown."""
    variables = {"c": {"component": "x", "physical_host": "h9"}}
    openstack(
        *(*PRELOAD, "--inventory", write_inventory(openstack, variables)),
        *("--from", "/{service}-{distro}.tar"),
        status=2,
        stderr="(?s).*c: h9 is not in the inventory.*",
    )
