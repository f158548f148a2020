"""The cost of a signature policy: requests, at first and again."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests import signing
from tests.functional import base, deployment
from tests.functional.deployment import Deployment


@pytest.fixture
def site(openstack: base.OpenStack) -> Iterator[Deployment]:
    """A registry with three images, each with a signature of one key."""
    key = signing.KINDS["ecdsa"]()
    with deployment.deployed(openstack) as found:
        for image in found.images.images:
            name = f"{found.registry.host}/{image.repository}:17.1"
            store = found.registry.content.store(image.repository)
            signing.attach(store, key, name, image.descriptor.digest)
        path = found.write("key.pub", signing.public_bytes(key).decode())
        policy = {"default": [signing.sigstore(path)]}
        found.write("policy.json", json.dumps(policy))
        signing.use_attachments(found.home)
        openstack.environment["XDG_STATE_HOME"] = str(found.home / "state")
        yield found


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
    assert requests(site, *policy, tree="two") <= plain + 2 * count
    assert requests(site, *policy, tree="two") == requests(
        site, *referrers, tree="one"
    )
    again = requests(site, *referrers, tree="three")
    assert requests(site, *policy, tree="four") == again
