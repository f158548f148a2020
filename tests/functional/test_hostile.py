"""A run over a registry that means harm: nothing is done, and it is told."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client.oci import mediatypes
from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from tests.functional import base
from tests.functional.deployment import TABLE

NAME = "ns/openstack-keystone"
CONFIG, LAYER = (
    content.blob(name, media_type=kind).descriptor.to_json()
    for name, kind in (
        ("config", mediatypes.OCI_CONFIG),
        ("layer", mediatypes.OCI_LAYER_GZIP),
    )
)
TRAVERSAL = "sha256:../../../../../../escaped"
FOREIGN = "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def evil() -> Iterator[RegistryServer]:
    """A server that nobody has a reason to ask."""
    with RegistryServer() as server:
        yield server


class Victim:
    """A user who copies from the hostile registry into a tree."""

    def __init__(self, openstack: base.OpenStack) -> None:
        self._openstack = openstack
        self.tree = openstack.home / "deep" / "tree"
        self.tree.mkdir(parents=True)
        (openstack.home / "table.j2").write_text(TABLE)

    def run(
        self,
        registry: RegistryServer,
        status: int | Collection[int],
        stderr: str,
    ) -> None:
        entry = {
            "push_destination": "uc.example.com:8787",
            "set": {"namespace": f"{registry.host}/ns", "tag": "1"},
        }
        environment = {
            "parameter_defaults": {"ContainerImagePrepare": [entry]}
        }
        text = yaml.safe_dump(environment)
        (self._openstack.home / "env.yaml").write_text(text)
        self._openstack(
            *("image-prepare", "run", "-e", "env.yaml"),
            *("--template-file", "table.j2", "--output-env-file", "out.yaml"),
            *("--image-serve", str(self.tree)),
            status=status,
            stderr=stderr,
        )

    def is_unharmed(self) -> bool:
        """Nothing was written but what the run keeps for itself."""
        home = self._openstack.home
        files = {p for p in home.parent.rglob("*escaped*") if p.is_file()}
        names = {path.name for path in self.tree.rglob("sha256*")}
        served = self.tree / "v2"
        results = home / "out.yaml"
        return not any((files, names, served.exists(), results.exists()))


@pytest.fixture
def victim(openstack: base.OpenStack) -> Victim:
    return Victim(openstack)


def serve(
    registry: RegistryServer, document: object, media_type: str
) -> RegistryServer:
    """Let the registry have nothing but this manifest."""
    body = document
    if not isinstance(body, bytes):
        body = json.dumps(document).encode()
    headers = {"Content-Type": media_type, "Docker-Content-Digest": None}
    registry.fail(
        path="/manifests/", status=200, headers=headers, body=body, times=None
    )
    return registry


def manifest(**changes: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_MANIFEST,
        "config": CONFIG,
        "layers": [LAYER],
        **changes,
    }


def index(*children: Any) -> dict[str, Any]:
    return {
        "schemaVersion": 2,
        "mediaType": mediatypes.OCI_INDEX,
        "manifests": children,
    }


@pytest.mark.parametrize(
    ("document", "status", "message"),
    [
        (
            manifest(config={**CONFIG, "digest": TRAVERSAL}),
            2,
            "invalid digest",
        ),
        (
            manifest(layers=[{**LAYER, "digest": TRAVERSAL}]),
            2,
            "invalid digest",
        ),
        (
            manifest(subject={**CONFIG, "digest": TRAVERSAL}),
            2,
            "invalid digest",
        ),
        (manifest(manifests=[]), 2, "ambiguous"),
        (manifest(layers=[{**LAYER, "size": -1}]), 2, "size"),
        (manifest(layers=[{**LAYER, "size": 2**62}]), 2, "bytes needed"),
        (manifest(layers=[{**LAYER, "size": 2**70}]), 2, "22 digits"),
        (manifest(layers=[LAYER] * 5000), 2, "over 4096 entries"),
        (b" " * (5 << 20), 2, "over 4194304 bytes"),
        (b"[" * 100_000, 2, "nested too deeply"),
    ],
    ids=[
        "config-traversal",
        "layer-traversal",
        "subject-traversal",
        "confusion",
        "negative-size",
        "endless-size",
        "size-over-64-bits",
        "many-layers",
        "huge",
        "deep-json",
    ],
)
def test_manifests(
    victim: Victim,
    evil: RegistryServer,
    document: object,
    status: int,
    message: str,
) -> None:
    """The blobs of such a manifest are neither fetched nor written."""
    serve(evil, document, mediatypes.OCI_MANIFEST)
    victim.run(evil, status, f"(?s).*{message}.*")
    assert victim.is_unharmed()
    assert not evil.requests(path="escaped")


def test_index_under_the_type_of_a_manifest(
    victim: Victim, evil: RegistryServer
) -> None:
    """Type and content must agree (CVE-2021-41190)."""
    serve(evil, index(LAYER), mediatypes.OCI_MANIFEST)
    victim.run(evil, 2, r"(?s).*was served as.*")
    assert victim.is_unharmed()


@pytest.mark.parametrize("kind", [LAYER["mediaType"], FOREIGN])
def test_urls_of_layers(
    victim: Victim, evil: RegistryServer, kind: str
) -> None:
    """The URLs of a layer are never asked, with or without credentials
    (CVE-2020-15157).
    """
    config = content.blob("config", media_type=mediatypes.OCI_CONFIG)
    layer = {**LAYER, "mediaType": kind, "urls": [f"{evil.url}/layer"]}
    with RegistryServer() as registry:
        store = registry.content.store(NAME)
        store.push(config.descriptor, config.open())
        serve(registry, manifest(layers=[layer]), mediatypes.OCI_MANIFEST)
        is_foreign = kind == FOREIGN
        victim.run(registry, 0 if is_foreign else (1, 2), ".*")
    assert not evil.log


def test_configs_are_hashed(victim: Victim, evil: RegistryServer) -> None:
    """A config with other bytes than its digest says is not kept."""
    image = content.image("hostile")
    store = evil.content.store(NAME)
    for piece in image.pieces:
        store.push(piece.descriptor, piece.open())
    store.tag(image.descriptor, "1")
    config = image.parts[-1].descriptor
    evil.fail("GET", config.digest, corrupt=3, times=None)
    victim.run(evil, 1, r"(?s).*digest is sha256:\w+, expected.*")
    assert config.digest not in {
        path.name for path in Path(victim.tree).rglob("*")
    }
    assert not (victim.tree.parent.parent / "out.yaml").exists()
