"""``openstack image-prepare policy show`` and refusals of ``push``."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from imageprep_client.testing import content
from imageprep_client.testing.registry import RegistryServer
from imageprep_client.testing.streams import put
from tests.functional import base
from tests.functional.deployment import Deployment

SHOW = ("image-prepare", "policy", "show")
ANYTHING = {"type": "insecureAcceptAnything"}
REJECT = {"type": "reject"}
KEY = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "k.gpg"}


def write(openstack: base.OpenStack, document: object) -> str:
    """A policy file."""
    path = openstack.home / "policy.json"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.mark.parametrize(
    ("image", "scope", "requirements"),
    [
        ("quay.io/ns/a:1", "docker quay.io/ns", ["reject"]),
        (
            "quay.io/ns/b:1",
            "docker quay.io/ns/b",
            ["signedBy k.gpg", "insecureAcceptAnything"],
        ),
        ("quay.io/ns/b:2", "docker quay.io/ns/b:2", ["reject"]),
        ("a.x.example.com:5000/b:2", "docker *.example.com", ["reject"]),
        ("busybox", "docker docker.io/library", ["reject"]),
        ("other.io/ns/b:2", 'docker ""', ["insecureAcceptAnything"]),
        ("oci:/a/b//c:1", "default", ["reject"]),
    ],
)
def test_longest_scope(
    openstack: base.OpenStack,
    image: str,
    scope: str,
    requirements: Sequence[str],
) -> None:
    """The requirements are those of the most specific scope."""
    path = write(
        openstack,
        {
            "default": [REJECT],
            "transports": {
                "docker": {
                    "": [ANYTHING],
                    "quay.io": [ANYTHING],
                    "quay.io/ns": [REJECT],
                    "quay.io/ns/b": [KEY, ANYTHING],
                    "quay.io/ns/b:2": [REJECT],
                    "*.example.com": [REJECT],
                    "docker.io/library": [REJECT],
                }
            },
        },
    )
    words = (*SHOW, image, "--signature-policy", path)
    missing = "signedBy k.gpg" in requirements
    warning = "WARNING: k.gpg: no such file" if missing else ""
    shown = openstack.json(*words, stderr=warning)
    assert (shown["Policy"], shown["Scope"]) == (path, scope)
    assert shown["Requirements"] == list(requirements)


def test_broken_policy(openstack: base.OpenStack) -> None:
    """A policy that is not as specified is shown to nobody."""
    path = write(openstack, {"default": [REJECT], "more": 1})
    openstack(
        *(*SHOW, "a/b", "--signature-policy", path),
        status=2,
        stderr=".*policy.json: more: unknown key.*",
    )


def test_missing_key(openstack: base.OpenStack) -> None:
    """A key that is not on this host is told before it refuses an image."""
    path = write(openstack, {"default": [KEY]})
    words = (*SHOW, "a/b", "--signature-policy", path)
    openstack(*words, stderr="WARNING: k.gpg: no such file")


def test_refused_image_has_no_tag(openstack: base.OpenStack) -> None:
    """The user's policy is obeyed without any option."""
    directory = openstack.home / ".config/containers"
    directory.mkdir(parents=True)
    (directory / "policy.json").write_text(json.dumps({"default": [REJECT]}))
    with RegistryServer() as server:
        put(server.content.store("ns/a"), content.image("a"), "1")
        openstack(
            *("image-prepare", "push", f"{server.host}/ns/a:1"),
            *("--image-serve", "tree"),
            status=2,
            stderr="(?s).*scope default, requirement reject.*",
        )
    assert not list(openstack.home.glob("tree/v2/ns/a/manifests/*"))


def test_image_show_tells_of_the_policy(openstack: base.OpenStack) -> None:
    """A refused image is shown, with the reason of the refusal."""
    path = write(openstack, {"default": [REJECT]})
    with RegistryServer() as server:
        put(server.content.store("ns/a"), content.image("a"), "1")
        done = openstack(
            *("image-prepare", "image", "show", f"{server.host}/ns/a:1"),
            *("--signature-policy", path),
        )
    told = json.loads(done.stdout)["SignaturePolicy"]
    assert "scope default, requirement reject" in told


@pytest.mark.parametrize("text", [None, "no JSON", "{}"])
@pytest.mark.parametrize(
    "words",
    [
        ("run", "-e", "env.yaml", "--image-serve", "tree"),
        ("push", "NAME", "--image-serve", "tree"),
        ("hotfix", "--image", "NAME", "--rpms-path", "."),
    ],
    ids=["run", "push", "hotfix"],
)
def test_unusable_policy(
    site: Deployment, words: Sequence[str], text: str | None
) -> None:
    """An unusable policy is reported before any request, by each command."""
    if text is not None:
        site.write("bad.json", text)
    name = f"{site.registry.host}/ns/openstack-keystone:17.1"
    site.openstack(
        *("image-prepare", *(word.replace("NAME", name) for word in words)),
        *("--signature-policy", "bad.json"),
        status=2,
        stderr=".*bad.json.*",
    )
    assert not site.registry.log
    assert not (site.home / "tree").exists()
