"""The commands of doc/source/user/signatures.rst, in their order."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.testing.streams import put
from tests import programs, servers, signing
from tests.functional import deployment
from tests.functional.base import OpenStack
from tests.integration.test_signature_policy import (
    ATOMIC,
    IMAGE,
    NAME,
    Site,
    claim,
    gpg_signed,
)

GUIDE = Path(__file__).parents[2] / "doc/source/user/signatures.rst"
_FILE = re.compile(r":caption: (\S+)\n\n((?:   .*\n|\n)+)")
_TABLE = """container_images_template:
- imagename: "{{namespace}}/app:{{tag}}"
  image_source: kolla
  params: [ContainerNovaApiImage]
"""


class Reader:
    """A reader of the guide, at a site with places of its own."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.openstack = OpenStack(site.home)
        self.openstack.environment |= {
            name: site.environment[name]
            for name in ("GNUPGHOME", "XDG_STATE_HOME")
        }
        (site.home / "table.j2").write_text(_TABLE)
        entry = {
            "push_destination": "undercloud.local:8787",
            "set": {"namespace": f"{site.registry.host}/ns", "tag": "1"},
        }
        (site.home / "env.yaml").write_text(
            json.dumps(
                {"parameter_defaults": {"ContainerImagePrepare": [entry]}}
            )
        )
        settings = site.home / ".config/containers"
        (settings / "policy.json").write_text(
            '{"default": [{"type": "insecureAcceptAnything"}]}'
        )
        (settings / "registries.conf").write_text(
            f'[[registry]]\nlocation = "{site.registry.host}"\n'
            "insecure = true\n"
        )
        self.text = self._here(GUIDE.read_text())

    def _here(self, text: str) -> str:
        site = self.site
        for place, here in (
            (
                "https://registry.example.com/lookaside",
                f"file://{site.lookaside}",
            ),
            ("file:///srv/lookaside", f"file://{site.lookaside}"),
            ("registry.example.com", site.registry.host),
            ("ns/nova-api", NAME),
            ("/etc/pki/rpm-gpg", str(site.home)),
            ("/etc/pki/containers", str(site.home)),
            ("/var/lib/image-serve", "tree"),
        ):
            text = text.replace(place, here)
        return text

    def files(self, *names: str) -> None:
        """Write files of the guide; those of registries.d to their place."""
        blocks = dict(_FILE.findall(self.text))
        directory = self.site.home / ".config/containers/registries.d"
        for name in names:
            if name.endswith(".yaml"):
                shutil.rmtree(directory)
                directory.mkdir()
                (directory / name).write_text(blocks[name])
            else:
                (self.site.home / name).write_text(blocks[name])

    def commands(self, *starts: str) -> list[str]:
        """The commands of the guide that have one of these in them."""
        found = re.findall(r"(?m)^   \$ (.*)$", self.text)
        return [
            command
            for command in found
            if any(start in command for start in starts)
        ]

    def run(self, command: str, status: int = 0) -> str:
        """Run a command; gives stdout."""
        words = shlex.split(command)
        if words[0] == "openstack":
            if "run" in words:
                words += ["--template-file", "table.j2"]
            pattern = ".*no signature.*" if status else deployment.PLAIN
            done = self.openstack(*words[1:], status=status, stderr=pattern)
            return done.stdout
        if words[0] == "gpg":
            # No one is there to be asked for a passphrase.
            words[1:1] = ["--batch", "--passphrase", ""]
        programs.run(*words, cwd=self.site.home, env=self.site.environment)
        return ""

    def accepted(self) -> str:
        """By which key the image was, as the report has it."""
        report = json.loads((self.site.home / "report.json").read_text())
        (row,) = report["images"]
        return str(row["accepted"])


@pytest.fixture
def reader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Reader]:
    """A site with one image that nobody has signed yet."""
    with servers.docker_registry(tmp_path / "registry") as registry:
        home = tmp_path / "home"
        home.mkdir()
        site = Site(registry, home)
        for name in ("HOME", "GNUPGHOME", "XDG_STATE_HOME"):
            monkeypatch.setenv(name, site.environment[name])
        with RegistryClient() as registries:
            put(site.store(registries), IMAGE, "1")
        yield Reader(site)


def test_each_command_is_run() -> None:
    """No command of the guide is without a test here."""
    commands = re.findall(r"(?m)^   \$ (.*)$", GUIDE.read_text())
    kinds = ("vendor.json", "gpg", "skopeo", "site.json", "cosign")
    ours = [c for c in commands if any(kind in c for kind in kinds)]
    assert len(ours) == 3 + 2 + 1 + 1 + 3
    (other,) = set(commands) - set(ours)
    assert other.startswith("openstack image-prepare policy show")


def test_vendor(reader: Reader) -> None:
    """With the vendor's key an image is refused unsigned, accepted signed."""
    site = reader.site
    reader.files("vendor.json", "vendor.yaml")
    user = "vendor@example.org"
    site.gpg("--quick-gen-key", user, "rsa2048", "sign")
    key = site.home / "RPM-GPG-KEY-vendor"
    key.write_bytes(site.gpg("--armor", "--export", user))
    show, push, run = reader.commands("vendor.json")
    for command in (push, run):
        reader.run(command, status=2)
    assert not list(site.home.glob("tree/v2/*/*/manifests/*"))

    text = claim(site.name, kind=ATOMIC)
    site.write(1, gpg_signed(site, text, user))

    assert f"signedBy {key}" in " ".join(reader.run(show).split())
    reader.run(push)
    reader.run(run)
    assert str(key) in reader.accepted()


def test_own_key(reader: Reader) -> None:
    """Commands of GnuPG and skopeo sign so that the policy accepts it."""
    reader.files("site.json", "site.yaml")
    *keys, sign, run = reader.commands("gpg ", "skopeo copy", "site.json")
    for command in keys:
        reader.run(command)
    reader.run(run, status=2)
    reader.run(sign)
    reader.run(run)
    assert str(reader.site.home / "site.asc") in reader.accepted()


def test_cosign_key(reader: Reader) -> None:
    """A signature as cosign makes it is accepted by the policy.

    cosign itself is in no distribution that the tests know: its key pair and
    its signature are made here.
    """
    site = reader.site
    reader.files("cosign.json", "cosign.yaml")
    generate, sign, run = reader.commands("cosign")
    key = signing.KINDS["ecdsa"]()
    assert generate == "cosign generate-key-pair"
    path = site.public(key, "cosign.pub")
    reader.run(run, status=2)
    name = sign.split()[-1]
    assert name == site.name
    payload = claim(name.rpartition(":")[0])
    site.attach((payload, signing.sign(key, payload)))
    reader.run(run)
    assert str(path) in reader.accepted()


def test_which_requirement(reader: Reader) -> None:
    """``policy show`` of the host's policy names scope and requirement."""
    reader.files("site.json")
    site = reader.site
    shutil.copy(
        site.home / "site.json", site.home / ".config/containers/policy.json"
    )
    (site.home / "site.asc").touch()
    command = next(
        c for c in reader.commands("policy show") if c.endswith(":1")
    )
    told = reader.run(command)
    assert f"{site.registry.host}/ns" in told
    assert "signedBy" in told
