"""Policies that are not as specified are refused as a whole."""

from __future__ import annotations

import json

import pytest

from imageprep_client import errors
from imageprep_client.oci.reference import Reference
from imageprep_client.trust import policy
from imageprep_client.trust.scopes import Subject

_REJECT = {"type": "reject"}
_ACCEPT = {"type": "insecureAcceptAnything"}
_GPG = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k.gpg"}


def refused(content: bytes, reason: str) -> None:
    """See that a policy is refused by its name, for this reason."""
    with pytest.raises(errors.InvalidFile, match=reason) as caught:
        policy.parse(content, "policy.json")
    assert str(caught.value).startswith("policy.json: ")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON: no UTF-8"),
        (b'{"default": [], "default": []}', "has the key 'default' twice"),
        (
            b'{"default": [{"type": "reject", "type": "reject"}]}',
            "has the key 'type' twice",
        ),
        (b'{"default": [{"type": "reject"}]} {}', "no JSON"),
        (b"[" * 100_000, "nested too deeply|no JSON"),
    ],
)
def test_no_document(content: bytes, reason: str) -> None:
    """Content that is no JSON, or can be read in two ways."""
    refused(content, reason)


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([], "not a JSON object"),
        ({}, "default: missing"),
        ({"default": None}, "default: not a list"),
        ({"default": []}, "default: not a list of requirements, or empty"),
        ({"default": [["reject"]]}, r"default\[0\]: not an object"),
        ({"default": [{"type": "accept"}]}, "unknown type 'accept'"),
        ({"default": [{**_REJECT, "keyPath": "k"}]}, "keyPath: unknown key"),
        ({"Default": [_REJECT]}, "Default: unknown key"),
        ({"default": [_REJECT], "more": 1}, "more: unknown key"),
        (
            {"default": [_REJECT], "transports": {"docker": []}},
            "transports.docker: not an object",
        ),
        (
            {"default": [{**_GPG, "keyData": "eA=="}]},
            "not exactly one of keyPath, keyPaths, keyData",
        ),
        ({"default": [{**_GPG, "keyType": "x"}]}, "unknown type 'x'"),
        (
            {"default": [{**_GPG, "signedIdentity": {"type": "x"}}]},
            "unknown type 'x'",
        ),
    ],
)
def test_no_policy(document: object, reason: str) -> None:
    """JSON that is not as specified."""
    refused(json.dumps(document).encode(), reason)


@pytest.mark.parametrize(
    ("transport", "scope", "reason"),
    [
        ("dir", "relative", "not an absolute path"),
        ("oci", "/", 'use the scope ""'),
        ("oci-archive", "/a/../b", "not a canonical path"),
        ("docker-archive", "/a.tar", 'only the scope "" is supported'),
    ],
)
def test_scope_that_matches_nothing(
    transport: str, scope: str, reason: str
) -> None:
    """A scope that can match no image is no mere typing mistake."""
    transports = {transport: {scope: [_REJECT]}}
    document = {"default": [_REJECT], "transports": transports}
    refused(json.dumps(document).encode(), reason)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"keyData": "no base64!"}, "keyData: not base64"),
        ({"keyData": 1}, "keyData: not a string"),
        ({"keyDatas": []}, "keyDatas: not a list of strings"),
        ({"keyPaths": "k"}, "keyPaths: not a list of strings"),
        ({}, "not exactly one of keyPath"),
        ({"fulcio": {}, "keyPath": "k"}, "not exactly one of keyPath"),
        ({"fulcio": "x"}, "fulcio: not an object"),
        (
            {
                "keyPath": "k",
                "rekorPublicKeyPath": "r",
                "rekorPublicKeyData": "eA==",
            },
            "only one of rekorPublicKeyPath",
        ),
    ],
)
def test_broken_requirement(fields: dict[str, object], reason: str) -> None:
    """A requirement of sigstore that is not as specified."""
    requirement = {"type": "sigstoreSigned", **fields}
    refused(json.dumps({"default": [requirement]}).encode(), reason)


@pytest.mark.parametrize("host", ["quay.io", "Quay.IO", "QUAY.IO"])
@pytest.mark.parametrize("scope", ["quay.io", "Quay.io/ns"])
def test_hosts_have_no_case(host: str, scope: str) -> None:
    """The spelling of a host does not evade a policy."""
    transports = {"docker": {scope: [_REJECT], "*.IO": [_ACCEPT]}}
    document = {"default": [_ACCEPT], "transports": transports}
    rules = policy.parse(json.dumps(document).encode(), "policy.json")
    subject = Subject.of(Reference.parse(f"{host}/ns/name:1"))
    assert not rules.rule(subject).accepts_anything


def test_scope_that_is_there_twice() -> None:
    """Nobody could tell which of them applies."""
    scopes = {"quay.io/ns": [_ACCEPT], "Quay.io/ns": [_REJECT]}
    document = {"default": [_REJECT], "transports": {"docker": scopes}}
    refused(json.dumps(document).encode(), "a second quay.io/ns")
