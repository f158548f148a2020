"""References and their grammar."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "registry", "repository", "tag", "digest"),
    [
        ("quay.io/ns/nova-api:17.1", "quay.io", "ns/nova-api", "17.1", ""),
        ("quay.io/ns/nova-api", "quay.io", "ns/nova-api", "", ""),
        (f"q.io/a@{DIGEST}", "q.io", "a", "", DIGEST),
        (f"q.io/a:1@{DIGEST}", "q.io", "a", "1", DIGEST),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000", "a/b/c", "x", ""),
        ("localhost/a:1", "localhost", "a", "1", ""),
        ("localhost:8787/a:1", "localhost:8787", "a", "1", ""),
        ("[::1]:5000/a:1", "[::1]:5000", "a", "1", ""),
        ("ns/a:1", "docker.io", "ns/a", "1", ""),
        ("busybox", "docker.io", "library/busybox", "", ""),
        ("docker.io/busybox:1", "docker.io", "library/busybox", "1", ""),
        ("docker://q.io/a:1", "q.io", "a", "1", ""),
        ("oci:/srv//ns/a:1", "oci:/srv", "ns/a", "1", ""),
        (f"oci:x//a@{DIGEST}", "oci:x", "a", "", DIGEST),
        ("image-serve:/a//b//c:1", "image-serve:/a//b", "c", "1", ""),
        ("oci:5000/a:1", "oci:5000", "a", "1", ""),
    ],
)
def test_parse(text, registry, repository, tag, digest):
    """Every part is found, and what docker leaves out is put in."""
    assert Reference.parse(text) == Reference(
        registry, repository, tag, digest
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":tag",
        "q.io/",
        "q.io/A:1",
        "q.io/a//b:1",
        "q.io/../x:1",
        "q.io/a:",
        "q.io/a:b/c",
        "q.io/a:.x",
        "q.io/a:" + "x" * 129,
        "q.io/a@sha256:1",
        "q.io/a@" + "md5:" + "a" * 32,
        "q.io:99999/a:1",
        "q.io:0/a:1",
        "user@q.io/a:1",
        "q.io/a b:1",
        "q.io/a:1\n",
        "q.io/" + "a" * 256,
        "http://q.io/a:1",
        "oci:/srv",
        "oci:/srv//",
        "oci:/srv//A:1",
        "oci:/srv//a:.x",
        "oci:/srv//a@sha256:1",
        "oci:/srv//../a:1",
    ],
)
def test_parse_refuses(text):
    """A name that breaks the grammar never becomes a URL or a path."""
    with pytest.raises(errors.InvalidReference):
        Reference.parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "q.io/a",
        "q.io/a:1",
        f"q.io/a@{DIGEST}",
        f"q.io/a:1@{DIGEST}",
        "oci:/srv//ns/a:1",
        f"image-serve:/srv//a@{DIGEST}",
    ],
)
def test_str_is_what_was_parsed(text):
    """A whole reference is written as it was read."""
    assert str(Reference.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "identifier"),
    [
        ("q.io/a", "latest"),
        ("q.io/a:1", "1"),
        (f"q.io/a:1@{DIGEST}", DIGEST),
    ],
)
def test_identifier(text, identifier):
    """The digest decides, then the tag, then latest."""
    assert Reference.parse(text).identifier == identifier


@pytest.mark.parametrize("value", [None, 1, b"tag", "a/b", "", "-x"])
def test_tags_that_are_none(value):
    """Other types and other texts are no tags."""
    assert not references.is_tag(value)
    with pytest.raises(errors.InvalidReference, match="invalid tag"):
        references.check_tag(value)


@pytest.mark.parametrize(
    "text", ["[fe80::1%eth0]:5000/ns/x:1", "[fe80::1%25eth0]/ns/x"]
)
def test_zones_are_refused(text):
    """Other hosts would not know what the zone is; the error says so."""
    with pytest.raises(errors.InvalidReference, match="with a zone"):
        Reference.parse(text)


def test_check_gives_the_text_back():
    """Valid parts are returned as they are."""
    assert references.check_tag("v1.0_x-y") == "v1.0_x-y"
    assert references.check_repository("a/b__c--d.e") == "a/b__c--d.e"
    assert references.check_registry("[fe80::1]:80") == "[fe80::1]:80"
