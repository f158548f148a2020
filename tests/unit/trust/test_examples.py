"""The examples of containers-policy.json(5), each as documented."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imageprep_client.client import policies

_ANYTHING = [{"type": "insecureAcceptAnything"}]
ACCEPT = "insecureAcceptAnything"
_KEY = "/path/to/sigstore-pubkey.pub"
_HOST = "hostname:5000"
_FULL = f"{_HOST}/myns/sigstore-signed-with-full-references"
_COSIGN = f"{_HOST}/myns/sigstore-signed-allows-malicious-tag-substitution"
# In newer releases of the page only.
_FULCIO = f"{_HOST}/myns/sigstore-signed-fulcio-rekor"


def gpg(name: str, **identity: str) -> dict[str, object]:
    """A requirement of a GPG key."""
    requirement: dict[str, object] = {
        "type": "signedBy",
        "keyType": "GPGKeys",
        "keyPath": f"/path/to/{name}-pubkey.gpg",
    }
    if identity:
        requirement["signedIdentity"] = identity
    return requirement


def policy() -> dict[str, object]:
    """The first example; scopes of atomic: stand in docker: as well."""
    signed = {
        f"{_HOST}/myns/official": [gpg("official")],
        f"{_HOST}/vendor/product": [
            gpg(
                "vendor",
                type="exactRepository",
                dockerRepository="vendor-hostname/product/repository",
            ),
            gpg("reviewer"),
        ],
        "private-mirror:5000/vendor-mirror": [
            gpg(
                "vendor",
                type="remapIdentity",
                prefix="private-mirror:5000/vendor-mirror",
                signedPrefix="vendor.example.com",
            )
        ],
    }
    sigstore = {"type": "sigstoreSigned", "keyPath": _KEY}
    fulcio = {
        "type": "sigstoreSigned",
        "fulcio": {
            "caPath": "/path/to/fulcio_v1.crt.pem",
            "oidcIssuer": "https://github.com/login/oauth",
            "subjectEmail": "test-user@example.com",
        },
        "rekorPublicKeyPath": "/path/to/rekor.pub",
    }
    by_repository = {"signedIdentity": {"type": "matchRepository"}}
    return {
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "docker.io/openshift": _ANYTHING,
                "docker.io/library/busybox": _ANYTHING,
                "*.temporary-project.example.com": _ANYTHING,
                _FULL: [sigstore],
                _COSIGN: [{**sigstore, **by_repository}],
                _FULCIO: [fulcio],
                f"{_FULCIO}- allows-malicious-tag-substitution": [
                    {**fulcio, **by_repository}
                ],
                **signed,
            },
            "dir": {"": _ANYTHING},
            "atomic": signed,
        },
    }


@pytest.mark.parametrize(
    ("image", "scope", "requirements"),
    [
        ("openshift/hello:1", "docker.io/openshift", ACCEPT),
        ("docker.io/openshift/origin", "docker.io/openshift", ACCEPT),
        ("busybox", "docker.io/library/busybox", ACCEPT),
        ("docker.io/library/busybox:1", "docker.io/library/busybox", ACCEPT),
        ("docker.io/busybox/other", "default", "reject"),
        ("docker.io/library/alpine", "default", "reject"),
        (
            "a.temporary-project.example.com/x/y:1",
            "*.temporary-project.example.com",
            ACCEPT,
        ),
        (
            "b.a.temporary-project.example.com:5000/x",
            "*.temporary-project.example.com",
            ACCEPT,
        ),
        ("temporary-project.example.com/x", "default", "reject"),
        (f"{_FULL}:1", _FULL, f"sigstoreSigned {_KEY}"),
        (f"{_COSIGN}:1", _COSIGN, f"sigstoreSigned {_KEY}"),
        (f"{_FULL}-more:1", "default", "reject"),
        (f"{_FULCIO}:1", _FULCIO, "sigstoreSigned with fulcio"),
        (f"{_HOST}/myns/official:1", "official", "official-pubkey.gpg"),
        (f"{_HOST}/vendor/product/x:1", "product", "vendor-pubkey.gpg"),
        (f"{_HOST}/vendor/product:1", "product", "reviewer-pubkey.gpg"),
        (
            "private-mirror:5000/vendor-mirror/producta/image1:latest",
            "private-mirror:5000/vendor-mirror",
            "vendor-pubkey.gpg",
        ),
    ],
)
def test_scopes(
    tmp_path: Path, image: str, scope: str, requirements: str
) -> None:
    """Each image has the requirements of the longest scope that fits."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps(policy()))
    rule = policies.show_rule(image, str(path))
    assert scope in rule.scope
    assert requirements in " ".join(rule.requirements)


def test_no_security(tmp_path: Path) -> None:
    """The second example accepts every image."""
    path = tmp_path / "policy.json"
    path.write_text(json.dumps({"default": _ANYTHING}))
    rule = policies.show_rule("quay.io/ns/app:1", str(path))
    assert rule.scope == "default"
    assert rule.requirements == ["insecureAcceptAnything"]
