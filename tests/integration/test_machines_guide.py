"""The commands of doc/source/user/machines.rst, in the order of a user."""

from __future__ import annotations

import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import ansible
from tests import hostile_sources, servers, web
from tests.functional.base import OpenStack
from tests.lxc_containers import KEY, Containers

pytestmark = pytest.mark.needs_root
GUIDE = Path(__file__).parents[2] / "doc/source/user/machines.rst"
FIRST = "infra1-utility-container-cbd7b73e"
SECOND = "infra2-utility-container-1f0c77aa"
_COMMAND = re.compile(r"(?m)^ +(?:# )?openstack image-prepare machine (.*)$")


class Reader:
    """A reader of the guide, at a site with places of its own."""

    def __init__(
        self,
        top: Path,
        registry: str,
        site: web.WebSite,
        keys: hostile_sources.Keys,
    ) -> None:
        self.top = top
        self.openstack = OpenStack(
            top / "home",
            XDG_STATE_HOME=str(top / "state"),
            LXC_CACHE_PATH=str(top / "cache"),
            GNUPGHOME=str(keys.home),
        )
        self.containers = Containers(top / "lxc")
        self.containers.path.mkdir()
        self.digest = ""
        self._here = {
            "registry.example.com": registry,
            "registry.example:5000": registry,
            "https://images.example.com": site.url,
            "site-keys.gpg": str(keys.ring),
            "FINGERPRINT": keys.fingerprints["good"],
            "images@example.com": "good@x.invalid",
            "/var/www/images": str(site.directory),
            "/srv/images": str(top / "images"),
            "/etc/openstack_deploy": str(top),
            "lxc-attach": f"lxc-attach -P {self.containers.path}",
            "-- openstack --version": "-- /bin/cat /release",
        }
        text = re.sub(r"\\\n +", "", GUIDE.read_text())
        #: All commands of the guide; each is taken out when it is run.
        self.left = _COMMAND.findall(text)
        self.declaration = re.search(
            r"code-block:: yaml\n\n((?:   .*\n)+)", text
        )

    def run(self, start: str, *more: str, store: str = "") -> str:
        """Run the first command of the guide that begins so; its output.

        :param more: further options.
        :param store: a place that is not the default one.
        """
        command = next(c for c in self.left if c.startswith(start))
        self.left.remove(command)
        for place, here in self._here.items():
            command = command.replace(place, here)
        words = shlex.split(command.replace("sha256:...", self.digest))
        if store:
            words += ["--store", store]
        return self.openstack(
            *("image-prepare", "machine", *words, *more, "-f", "json"),
            stderr="(?s).*",
        ).stdout

    def here(self, place: str) -> str:
        """The place of the test for one of the guide."""
        return self._here[place]

    def lxc(self, start: str, *more: str) -> str:
        """The same, about containers of LXC."""
        return self.run(start, *more, store=str(self.containers.path))

    def write_inventory(self) -> None:
        """The inventory of two hosts with a container each."""
        program = Path(sys.executable).with_name("openstack")
        host = {
            **ansible.LOCAL,
            "image_prepare_store": str(self.containers.path),
            "image_prepare_command": [str(program), "image-prepare"],
            "image_prepare_environment": {
                name: self.openstack.environment[name]
                for name in ("XDG_STATE_HOME", "LXC_CACHE_PATH")
            },
        }
        variables: dict[str, object] = {"infra1": host, "infra2": host}
        for name in (FIRST, SECOND):
            variables[name] = {
                "component": "utility",
                "physical_host": name.partition("-")[0],
            }
        (self.top / "openstack_inventory.json").write_text(
            json.dumps(
                {
                    "_meta": {"hostvars": variables},
                    "infra2_hosts": {"hosts": ["infra2"]},
                    "all_containers": {"hosts": list(variables)},
                }
            )
        )


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    """A site with two running containers."""
    for name in ("keys", "www", "images", "pool", "other"):
        (tmp_path / name).mkdir()
    with (
        servers.docker_registry(tmp_path / "registry") as registry,
        web.served(tmp_path / "www") as site,
        hostile_sources.made_keys(tmp_path / "keys") as keys,
    ):
        reader = Reader(tmp_path, registry.host, site, keys)
        for name in (FIRST, SECOND):
            reader.containers.add(name)
            reader.containers.start(name)
        try:
            yield reader
        finally:
            reader.containers.stop_all()


def test_commands_of_the_guide(reader: Reader) -> None:
    """All of them work, one after the other, and both containers have their
    keys in the end.
    """
    rows = json.loads(reader.lxc("list"))
    assert [row["Service"] for row in rows] == ["utility", "utility"]
    assert json.loads(reader.lxc("show"))["state"] == "running"
    reader.digest = json.loads(reader.lxc("export"))["digest"]
    archive = json.loads(reader.lxc("export"))
    reader.run("publish")
    imported = json.loads(reader.run("import", store=str(reader.top / "pool")))
    assert imported["digest"] == reader.digest
    imported = json.loads(
        reader.run("import", store=str(reader.top / "other"))
    )
    assert imported["digest"] == archive["digest"]
    assert "signature of" in imported["verified_by"]
    reader.write_inventory()
    rows = json.loads(reader.run("archive"))
    assert [row["State"] for row in rows] == ["exported", "left"]
    (row,) = json.loads(reader.run("preload"))
    assert (row["Container"], row["State"]) == (SECOND, "replaced")
    reader.lxc("export")
    (row,) = json.loads(reader.lxc("replace", "--stop-timeout", "10"))
    assert (row["Name"], row["State"]) == (SECOND, "replaced")
    export_base(reader)
    rows = json.loads(reader.run("preload --cache-only"))
    assert {row["State"] for row in rows} == {"filled", "present"}
    for name in (FIRST, SECOND):
        assert reader.containers.answer(name) == f"1 {KEY}"
    assert reader.left == []


def export_base(reader: Reader) -> None:
    """Push a base, whose tag is the distribution of this host."""
    release = Path("/etc/os-release").read_text()
    match = re.search(r"(?m)^ID=\"?([a-z]+)", release)
    assert match
    registry = reader.here("registry.example.com")
    reader.openstack(
        *("image-prepare", "machine", "export", FIRST, "--store"),
        str(reader.containers.path),
        *("--to", f"{registry}/osa/base:{match[1]}"),
        stderr="(?s).*",
    )


def test_declaration_of_the_guide(reader: Reader) -> None:
    """Its settings are what systemd 255 takes."""
    assert reader.declaration
    (reader.openstack.home / "s.yaml").write_text(reader.declaration[1])
    printed = reader.openstack(
        *("image-prepare", "machine", "settings", "www", "--settings"),
        *("s.yaml", "--systemd", "255"),
    ).stdout
    assert "MACVLAN=br-storage:eth2\n" in printed
    assert "MemoryMax=4G\n" in printed
