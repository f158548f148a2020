"""Signatures are of the image and the name that a command is given."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.client.machine import sources
from imageprep_client.client.machine.sources import MachineSource
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.observer import Observer
from imageprep_client.oci.platform import Platform
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from imageprep_client.transfer import graph
from tests import signing
from tests.functional import base

IMAGE = content.image("a", [content.blob("layer")])


class Site:
    """A registry, and a user whose policy wants signatures of one key."""

    def __init__(self, openstack: base.OpenStack) -> None:
        self.openstack = openstack
        self.key = signing.KINDS["ecdsa"]()
        home = openstack.home
        (home / "key.pub").write_bytes(signing.public_bytes(self.key))
        self.policy = home / "policy.json"
        requirement = signing.sigstore(home / "key.pub")
        self.policy.write_text(json.dumps({"default": [requirement]}))
        signing.use_attachments(home)


@pytest.fixture
def site(
    openstack: base.OpenStack, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Site:
    for name, value in (
        ("HOME", str(openstack.home)),
        ("XDG_STATE_HOME", str(tmp_path / "state")),
    ):
        openstack.environment[name] = value
        monkeypatch.setenv(name, value)
    return Site(openstack)


@pytest.fixture
def registry() -> Iterator[RegistryServer]:
    with RegistryServer() as server:
        put(server.content.store("ns/app"), IMAGE, "1", "2")
        yield server


@pytest.mark.parametrize("tag", ["1", "2"])
def test_machine_of_another_tag(
    site: Site, registry: RegistryServer, tag: str
) -> None:
    """An image of a machine that was signed as another tag is refused."""
    name = f"{registry.host}/ns/app"
    signing.attach(
        registry.content.store("ns/app"),
        site.key,
        f"{name}:1",
        IMAGE.descriptor.digest,
    )
    opened = sources.open_source(
        MachineSource(
            f"{name}:{tag}",
            registries=RegistryOptions(signature_policy=str(site.policy)),
        ),
        Observer(),
    )
    if tag == "1":
        with opened as archive:
            assert archive.digest == IMAGE.descriptor.digest
        return
    with (
        pytest.raises(errors.PolicyRefused, match="signed for the name"),
        opened,
    ):
        pass


def test_image_show_of_an_index(site: Site, registry: RegistryServer) -> None:
    """``image show`` tells what a run would say: of this host's image."""
    store = registry.content.store("ns/app")
    other = content.image("b")
    here = graph.host_platform()
    there = Platform("linux", "s390x")
    index = content.index({str(here): IMAGE, str(there): other})
    put(store, index, "3")
    name = f"{registry.host}/ns/app:3"
    words = (
        *("image-prepare", "image", "show", name, "-f", "json"),
        *("--signature-policy", str(site.policy)),
    )

    def told() -> str:
        shown = json.loads(site.openstack(*words).stdout)
        return str(shown["SignaturePolicy"])

    digest = IMAGE.descriptor.digest
    assert f"({digest}): refused" in told()
    signing.attach(store, site.key, name, digest)
    assert told().startswith(f"sigstoreSigned {site.openstack.home}/key.pub")
