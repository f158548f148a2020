"""Descriptors, platforms and media types."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform

DIGEST = "sha256:" + "a" * 64
JSON = {"mediaType": "x/y", "digest": DIGEST, "size": 3}


def test_of_bytes():
    """Bytes have a digest and a size."""
    descriptor = Descriptor.of(b"abc", mediatypes.OCI_MANIFEST)
    assert descriptor.size == 3
    assert descriptor.is_manifest


def test_json_round_trip():
    """All that an index says of a child is kept."""
    document = {
        **JSON,
        "artifactType": "a/b",
        "annotations": {"k": "v"},
        "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"},
    }
    assert Descriptor.from_json(document).to_json() == document
    assert Descriptor.from_json(JSON).to_json() == JSON


def test_equality_is_about_the_content():
    """Annotations do not make a descriptor one of other content."""
    plain = Descriptor.from_json(JSON)
    assert plain == Descriptor.from_json({**JSON, "annotations": {"k": "v"}})
    assert plain != Descriptor.from_json({**JSON, "size": 4})


@pytest.mark.parametrize(
    "document",
    [
        None,
        [],
        {},
        {**JSON, "digest": "sha256:../x"},
        {**JSON, "mediaType": ""},
        {**JSON, "mediaType": 5},
        {**JSON, "size": "3"},
        {**JSON, "size": True},
        {**JSON, "size": -1},
        {**JSON, "size": 1.5},
    ],
)
def test_malformed(document):
    """A descriptor that cannot be trusted is refused."""
    with pytest.raises(errors.InvalidReference):
        Descriptor.from_json(document)


def test_odd_extras_are_ignored():
    """A platform or annotations of the wrong type say nothing."""
    found = Descriptor.from_json(
        {**JSON, "platform": 1, "annotations": [], "artifactType": None}
    )
    assert found.platform is None
    assert not found.annotations


@pytest.mark.parametrize("text", ["linux/amd64", "linux/arm64/v8"])
def test_platform_round_trip(text):
    """A platform is written as it was read."""
    assert str(Platform.parse(text)) == text


@pytest.mark.parametrize("text", ["amd64", "a/b/c/d", "linux/", "Linux/x"])
def test_platform_refuses(text):
    """Other forms are refused."""
    with pytest.raises(errors.InvalidReference, match="invalid platform"):
        Platform.parse(text)


@pytest.mark.parametrize(
    ("own", "wanted", "matches"),
    [
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm64/v8", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64/v7", False),
        ("linux/amd64", "linux/arm64", False),
    ],
)
def test_platform_matches(own, wanted, matches):
    """A wanted platform without variant takes every variant."""
    assert Platform.parse(own).matches(Platform.parse(wanted)) is matches


def test_media_types():
    """Parameters and case of a content type do not count."""
    assert mediatypes.essence("Text/HTML; charset=utf-8") == "text/html"
    assert mediatypes.is_foreign(
        "application/vnd.oci.image.layer.nondistributable.v1.tar"
    )
    assert not mediatypes.is_foreign(mediatypes.OCI_LAYER)
