"""The cache that new LXC containers are made of."""

from __future__ import annotations

import json
import os
import sys
import tarfile
from pathlib import Path

import pytest

from imageprep_client import ansible
from tests import machines, programs
from tests.functional import base
from tests.lxc_containers import Containers

pytestmark = pytest.mark.needs_root
CACHE = ("image-prepare", "machine", "cache")


@pytest.fixture
def openstack(tmp_path: Path) -> base.OpenStack:
    """The ``openstack`` command, with a cache of its own."""
    return base.OpenStack(
        tmp_path / "home", LXC_CACHE_PATH=str(tmp_path / "cache")
    )


def export(openstack: base.OpenStack, tmp_path: Path) -> str:
    """Export a container, as a location of an image; nobody else's secrets
    are in it.
    """
    root = machines.container(tmp_path / "lxc", "base")
    (root / "etc/hostname").write_text("base\n")
    image = f"oci:{tmp_path}/images//osa/base:1"
    openstack(
        *("image-prepare", "machine", "export", "base", "--to", image),
        *("--store", str(tmp_path / "lxc")),
        stderr="(?s).*",
    )
    return image


def create(cache: Path, path: Path, name: str) -> Path:
    """Make a container with lxc-create, without a network; its root."""
    (path / "empty.conf").write_text("lxc.net.0.type = empty\n")
    programs.run(
        *("env", f"LXC_CACHE_PATH={cache}", "unshare", "--net"),
        *("lxc-create", "-P", path, "-n", name, "-f", path / "empty.conf"),
        *("-t", "download", "--", "--dist", "bb", "--release", "1"),
        *("--arch", "amd64", "--force-cache", "--server", "localhost"),
    )
    return path / name / "rootfs"


def test_lxc_makes_containers_of_the_cache(
    tmp_path: Path, openstack: base.OpenStack
) -> None:
    """Without a network, and each with a name and an identity of its own."""
    image = export(openstack, tmp_path)
    filled = openstack.json(*CACHE, "--from", image, stderr="(?s).*")
    place = tmp_path / "cache/download/bb/1/amd64/default"
    assert (filled["state"], filled["path"]) == ("filled", str(place))
    assert (place / "build_id").read_text().strip() == filled["digest"]
    assert place.stat().st_mode & 0o777 == 0o755
    new = tmp_path / "new"
    new.mkdir()
    for name in ("c1", "c2"):
        root = create(tmp_path / "cache", new, name)
        assert (root / "etc/hostname").read_text() == f"{name}\n"
        assert f"127.0.1.1 {name}\n" in (root / "etc/hosts").read_text()
        assert (root / "etc/machine-id").read_text() == ""
        assert (root / "bin/busybox").stat().st_mode & 0o777 == 0o755
        text = (new / name / "config").read_text()
        assert "/usr/share/lxc/config/common.conf" in text
    again = openstack.json(*CACHE, "--from", image, stderr="(?s).*")
    assert again["state"] == "present"
    assert os.listdir(tmp_path / "cache/download") == ["bb"]


def test_base_that_expires_is_made_again(
    tmp_path: Path, openstack: base.OpenStack
) -> None:
    """The role of OpenStack-Ansible makes one of its own otherwise."""
    image = export(openstack, tmp_path)
    openstack(*CACHE, "--from", image, stderr="(?s).*")
    place = tmp_path / "cache/download/bb/1/amd64/default"
    (place / "expiry").write_text("1\n")
    # What a killed run left.
    left = tmp_path / "cache/download/.image-prepare-0123/root/etc"
    left.mkdir(parents=True)
    again = openstack.json(*CACHE, "--from", image, stderr="(?s).*")
    assert again["state"] == "filled"
    assert int((place / "expiry").read_text()) > 1
    assert os.listdir(tmp_path / "cache/download") == ["bb"]


@pytest.mark.parametrize(
    ("release", "told"),
    [
        ("ID=../../x\nVERSION_ID=1\n", "has no ID that"),
        ("ID=bb\n", "has no VERSION_ID that"),
        ("ID=bb\nVERSION_ID=../1\n", "has no VERSION_ID that"),
    ],
)
def test_unusable_base_leaves_the_cache_alone(
    tmp_path: Path, openstack: base.OpenStack, release: str, told: str
) -> None:
    """Nothing is filed under a name that a stranger chose to do harm."""
    root = tmp_path / "m"
    machines.make_root(root)
    (root / "etc/os-release").write_text(release)
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        file.add(root, ".")
    result = openstack(
        *(*CACHE, "--from", str(path), "--no-verify"), status=2, stderr=".*"
    )
    assert told in result.stderr
    assert os.listdir(tmp_path / "cache/download") == []


def test_all_hosts_of_an_inventory(
    tmp_path: Path, openstack: base.OpenStack
) -> None:
    """Each host has the base in its own cache, before it has containers; a
    host that is not there fails alone.
    """
    image = export(openstack, tmp_path)
    program = Path(sys.executable).with_name("openstack")
    hosts: dict[str, dict[str, object]] = {
        name: {
            **ansible.LOCAL,
            "image_prepare_command": [str(program), "image-prepare"],
            "image_prepare_store": str(Containers(tmp_path / name).path),
            "image_prepare_environment": {
                "LXC_CACHE_PATH": str(tmp_path / name),
                "XDG_STATE_HOME": str(tmp_path / "state"),
            },
        }
        for name in ("h1", "h2")
    }
    hosts["h3"] = {"ansible_host": "127.0.0.1", "ansible_port": 1}
    variables = {
        **hosts,
        **{
            f"{host}-utility-container-0000000{number}": {
                "component": "utility",
                "physical_host": host,
            }
            for number, host in enumerate(hosts)
        },
    }
    inventory = openstack.home / "openstack_inventory.json"
    inventory.write_text(
        json.dumps(
            {
                "_meta": {"hostvars": variables},
                "all_containers": {"hosts": list(variables)},
            }
        )
    )
    done = openstack(
        *("image-prepare", "machine", "preload", "--cache-only"),
        *("--inventory", str(inventory), "--from", image, "-f", "json"),
        *("--report", "report.json"),
        status=1,
        stderr="(?s).*",
    )
    rows = {row["Host"]: row for row in json.loads(done.stdout)}
    assert {host: row["State"] for host, row in rows.items()} == {
        "h1": "filled",
        "h2": "filled",
        "h3": "unreachable",
    }
    for host in ("h1", "h2"):
        place = tmp_path / host / "download/bb/1/amd64/default"
        assert rows[host]["Path"] == str(place)
        assert (place / "rootfs.tar.xz").stat().st_size > 0
    report = json.loads((openstack.home / "report.json").read_text())
    assert [row["host"] for row in report["hosts"]] == ["h1", "h2", "h3"]
