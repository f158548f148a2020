"""The cost of a signature policy: requests, at first and again."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from imageprep_client.oci.referrers import tag_of
from imageprep_client.testing import content, streams
from imageprep_client.trust import signatures
from tests.functional import base, deployment
from tests.functional.deployment import Deployment

TREE = ("--image-serve", "tree")


@pytest.fixture
def site(openstack: base.OpenStack) -> Iterator[Deployment]:
    """A registry with three images, each with a signature of one key."""
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM,
        serialization.PublicFormat.SubjectPublicKeyInfo,
    )
    with deployment.deployed(openstack) as found:
        for image in found.images.images:
            name = f"{found.registry.host}/{image.repository}:17.1"
            claim = _claim(name, image.descriptor.digest)
            made = key.sign(claim, ec.ECDSA(hashes.SHA256()))
            store = found.registry.content.store(image.repository)
            tag = f"{tag_of(image.descriptor.digest)}.sig"
            streams.put(store, _signature(claim, made), tag)
        found.write("key.pub", public.decode())
        found.write("policy.json", _policy(found.home / "key.pub"))
        found.write(
            ".config/containers/registries.d/site.yaml",
            "default-docker: {use-sigstore-attachments: true}",
        )
        openstack.environment["XDG_STATE_HOME"] = str(found.home / "state")
        yield found


def _claim(name: str, digest: str) -> bytes:
    return json.dumps(
        {
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": digest},
                "type": "cosign container image signature",
            },
            "optional": {},
        }
    ).encode()


def _signature(claim: bytes, made: bytes) -> content.Image:
    """The image in which cosign keeps a signature."""
    layer = content.Piece(
        dataclasses.replace(
            content.blob("claim").descriptor.of(
                claim, signatures.SIGNATURE_TYPE
            ),
            annotations={
                signatures.ANNOTATION: base64.b64encode(made).decode()
            },
        ),
        claim,
    )
    return content.image("signature", [layer])


def _policy(path: Path) -> str:
    requirement = {"type": "sigstoreSigned", "keyPath": str(path)}
    return json.dumps({"default": [requirement]})


def requests(site: Deployment, *words: str, tree: str) -> int:
    """How many requests a run makes that has never been here."""
    before = len(site.registry.requests())
    site.run("--image-serve", tree, *words)
    return len(site.registry.requests()) - before


@pytest.mark.parametrize("referrers", [(), ("--no-referrers",)])
def test_requests(site: Deployment, referrers: tuple[str, ...]) -> None:
    """At most two requests an image at first, and none again."""
    policy = ("--signature-policy", "policy.json", *referrers)
    count = len(deployment.NAMES)
    plain = requests(site, *referrers, tree="one")
    cold = requests(site, *policy, tree="two")
    assert cold <= plain + 2 * count
    assert requests(site, *policy, tree="two") == requests(
        site, *referrers, tree="one"
    )
    again = requests(site, *referrers, tree="three")
    assert requests(site, *policy, tree="four") == again
