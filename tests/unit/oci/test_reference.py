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
        ("index.docker.io/busybox", "docker.io", "library/busybox", "", ""),
        ("Docker.IO/ns/name", "docker.io", "ns/name", "", ""),
        ("Q.IO:5000/ns/name:A", "q.io:5000", "ns/name", "A", ""),
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
    ("text", "part", "whole"),
    [
        ("", "registry", "HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]"),
        ("docker://", "registry", "HOST[:PORT]/REPOSITORY[:TAG|@DIGEST]"),
        ("/ns/a:1", "registry", "HOST[:PORT]/ns/a:1"),
        ("q.io/", "repository", "q.io/REPOSITORY[:TAG|@DIGEST]"),
        ("docker://q/", "repository", "q/REPOSITORY[:TAG|@DIGEST]"),
        ("q.io/:1", "repository", "q.io/REPOSITORY:1"),
        *(
            (host, "repository", f"{host}/REPOSITORY[:TAG|@DIGEST]")
            for host in ("10.0.0.1", "10.0.0.1:5000", "[::1]:1", "localhost:1")
        ),
        (f"@{DIGEST}", "repository", f"REPOSITORY@{DIGEST}"),
        ("q.io:", "port", "q.io:PORT/REPOSITORY[:TAG|@DIGEST]"),
        ("host:/a:1", "port", "host:PORT/a:1"),
        ("a:", "tag", "a:TAG"),
        ("q.io/a:", "tag", "q.io/a:TAG"),
        (f"q.io/a:@{DIGEST}", "tag", f"q.io/a:TAG@{DIGEST}"),
        ("q.io/a@", "digest", "q.io/a@sha256:DIGITS"),
        ("q.io/a@sha256:", "digest", "q.io/a@sha256:DIGITS"),
        ("oci:", "directory", "oci:DIRECTORY//REPOSITORY[:TAG|@DIGEST]"),
        ("oci://a:1", "directory", "oci:DIRECTORY//a:1"),
        (
            "image-serve:/x",
            *("repository", "image-serve:/x//REPOSITORY[:TAG|@DIGEST]"),
        ),
        ("oci:x//", "repository", "oci:x//REPOSITORY[:TAG|@DIGEST]"),
        ("oci:x//:1", "repository", "oci:x//REPOSITORY:1"),
        ("oci:x//a:", "tag", "oci:x//a:TAG"),
        ("oci:x//a@", "digest", "oci:x//a@sha256:DIGITS"),
        ("oci-archive:", "file", "oci-archive:FILE//REPOSITORY[:TAG|@DIGEST]"),
    ],
)
def test_cut_short(text: str, part: str, whole: str) -> None:
    """The part that is missing is named, and shown in its place."""
    with pytest.raises(errors.InvalidReference) as caught:
        Reference.parse(text)
    assert str(caught.value) == f"{text!r}: no {part}; write {whole}"


def test_cut_short_after_a_password() -> None:
    """A text that may be a password is not shown."""
    with pytest.raises(errors.InvalidReference) as caught:
        Reference.parse("me:secret@")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "docker-archive:/tmp/x.tar",
        "docker-daemon:x:1",
        "dir:/tmp/x",
        "dir:./x",
        "sif:/tmp/x",
    ],
)
def test_transports_of_skopeo(text: str) -> None:
    """They are refused, with a place that can be read."""
    with pytest.raises(errors.InvalidReference, match="of skopeo") as caught:
        references.check_complete(text)
    assert "oci-archive:FILE//REPOSITORY:TAG" in str(caught.value.hint)


@pytest.mark.parametrize(
    "text",
    [
        "dir:latest",
        "dir:5000/x:1",
        "docker-archive:5000/x:1",
        "quay.io/dir/x:1",
    ],
)
def test_names_like_transports_of_skopeo(text: str) -> None:
    """Images may have the names of such transports."""
    references.check_complete(text)


def test_local_storage_is_no_place() -> None:
    """Two commands alone read what is there, by names of its own."""
    with pytest.raises(errors.InvalidReference, match="only push and hotfix"):
        Reference.parse("containers-storage:a:1")


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
    [("q.io/a", "latest"), ("q.io/a:1", "1"), (f"q.io/a:1@{DIGEST}", DIGEST)],
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


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("fd00::1", "'[fd00::1]'"),
        ("fd00::1:13000", "'[fd00::1]:13000'"),
        ("fd00::1:8787", "'[fd00::1:8787]' or '[fd00::1]:8787'"),
    ],
)
def test_addresses_without_brackets(text: str, meant: str) -> None:
    """The hint has the brackets where they belong, also beside a port."""
    with pytest.raises(errors.InvalidReference) as caught:
        references.check_registry(text)
    assert str(caught.value.hint).endswith(f"address: {meant}")
