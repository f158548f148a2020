"""Manifests and indexes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.testing import content

CONFIG = {
    "mediaType": mediatypes.OCI_CONFIG,
    "digest": "sha256:" + "a" * 64,
    "size": 2,
}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "config": CONFIG, "layers": []}
INDEX: dict[str, Any] = {"schemaVersion": 2, "manifests": []}


def parse(
    document: object, media_type: str = mediatypes.OCI_MANIFEST
) -> manifests.Manifest:
    return manifests.parse(json.dumps(document).encode(), media_type)


def test_image():
    """A manifest names a config and layers, and keeps its bytes."""
    image = content.image("x")
    parsed = manifests.parse(
        image.manifest.data, image.descriptor.media_type + "; q=1"
    )
    assert parsed.content == image.manifest.data
    assert parsed.descriptor == image.descriptor
    assert {b.digest for b in parsed.blobs} == {
        p.descriptor.digest for p in image.parts
    }
    assert not parsed.is_index


def test_index():
    """An index names manifests with their platforms."""
    index = content.index({"linux/amd64": content.image("x")})
    parsed = manifests.parse(index.manifest.data, index.descriptor.media_type)
    assert parsed.is_index
    assert str(parsed.manifests[0].platform) == "linux/amd64"
    assert parsed.blobs == ()


def test_artifact():
    """How an artifact is listed among the referrers of its subject."""
    subject = content.image("x").descriptor
    artifact = content.artifact("s", subject, annotations={"k": "v"})
    parsed = manifests.parse(
        artifact.manifest.data, artifact.descriptor.media_type
    )
    assert parsed.subject == subject
    assert parsed.referrer.artifact_type == "application/vnd.example.sbom"
    assert parsed.referrer.annotations == {"k": "v"}


def test_referrer_without_artifact_type():
    """Then the config's media type stands for it."""
    assert parse(MANIFEST).referrer.artifact_type == mediatypes.OCI_CONFIG
    assert parse(INDEX, mediatypes.OCI_INDEX).referrer.artifact_type == ""


@pytest.mark.parametrize(
    ("urls", "needed"), [(["https://x/y"], 1), ([], 2), (None, 2)]
)
def test_layers_at_urls_are_no_blobs(urls, needed):
    """A store needs non-distributable layers only when no URL has them."""
    foreign = {
        **CONFIG,
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "urls": urls,
    }
    parsed = parse({**MANIFEST, "layers": [foreign]})
    assert len(parsed.layers) == 1
    assert len(parsed.blobs) == needed
    assert len(parsed.external) == 2 - needed


def test_urls_that_are_no_list():
    """A descriptor with malformed URLs is refused."""
    layer = {**CONFIG, "urls": "https://x/y"}
    with pytest.raises(errors.InvalidContent, match="urls is not a list"):
        parse({**MANIFEST, "layers": [layer]})


@pytest.mark.parametrize(
    ("document", "media_type", "problem"),
    [
        ([], mediatypes.OCI_MANIFEST, "not a JSON object"),
        (
            {**MANIFEST, "schemaVersion": 1},
            mediatypes.OCI_MANIFEST,
            "schema 1",
        ),
        (MANIFEST, min(mediatypes.DOCKER_SCHEMA1), "schema 1"),
        (MANIFEST, "text/html", "no manifest type"),
        (MANIFEST, "", "no media type"),
        ({"config": CONFIG, "layers": []}, mediatypes.OCI_MANIFEST, "schemaV"),
        (
            {**MANIFEST, "mediaType": mediatypes.DOCKER_MANIFEST},
            mediatypes.OCI_MANIFEST,
            "was served as",
        ),
        ({**MANIFEST, "manifests": []}, mediatypes.OCI_MANIFEST, "ambiguous"),
        ({**INDEX, "layers": []}, mediatypes.OCI_INDEX, "ambiguous"),
        ({**INDEX, "config": CONFIG}, mediatypes.OCI_INDEX, "ambiguous"),
        ({**MANIFEST, "layers": {}}, mediatypes.OCI_MANIFEST, "not a list"),
        ({**MANIFEST, "layers": [{}]}, mediatypes.OCI_MANIFEST, "digest"),
        ({**MANIFEST, "config": None}, mediatypes.OCI_MANIFEST, "descriptor"),
        (
            {**INDEX, "manifests": [CONFIG] * 5000},
            mediatypes.OCI_INDEX,
            "over 4096 entries",
        ),
    ],
)
def test_refused(document, media_type, problem):
    """An ambiguous or malformed manifest is refused."""
    with pytest.raises(errors.InvalidContent, match=problem):
        parse(document, media_type)


@pytest.mark.parametrize("inner", [None, ""])
def test_empty_media_type(inner):
    """A manifest may give its media type as null or an empty string."""
    parsed = parse({**MANIFEST, "mediaType": inner}, mediatypes.OCI_MANIFEST)
    assert parsed.descriptor.media_type == mediatypes.OCI_MANIFEST


@pytest.mark.parametrize(
    "data", [b"", b"{", b"\xff", b'{"a":' * 100_000, b" " * (4 << 20 | 1)]
)
def test_no_json(data):
    """Bytes that are no JSON, or too many, are refused."""
    with pytest.raises(errors.InvalidContent):
        manifests.parse(data, mediatypes.OCI_MANIFEST)


def test_digest_of_the_caller_is_kept():
    """A digest by another algorithm stays the manifest's name."""
    data = json.dumps(MANIFEST).encode()
    digest = digests.of(data, "sha512")
    parsed = manifests.parse(data, mediatypes.OCI_MANIFEST, digest)
    assert parsed.descriptor.digest == digest


def test_lists_that_are_null_or_absent():
    """Encoders of Go write an empty list as null, or leave it out."""
    assert parse({**MANIFEST, "layers": None}).layers == ()
    assert parse({"schemaVersion": 2, "config": CONFIG}).layers == ()
    assert parse({"schemaVersion": 2}, mediatypes.OCI_INDEX).manifests == ()
