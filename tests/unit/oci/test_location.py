"""Where images are, as users name it."""

import pytest

from imageprep_client import errors
from imageprep_client.oci.location import Location


@pytest.mark.parametrize(
    ("text", "registry", "prefix"),
    [
        ("192.168.24.1:8787", "192.168.24.1:8787", ""),
        ("192.168.24.1:8787/", "192.168.24.1:8787", ""),
        ("r.io/a/b//", "r.io", "a/b"),
        ("docker://r.io:5000/a", "r.io:5000", "a"),
        ("undercloud", "undercloud", ""),
        ("R.io:5000/a", "r.io:5000", "a"),
        ("index.docker.io/ns", "docker.io", "ns"),
        ("[fd00::1]:8787", "[fd00::1]:8787", ""),
        ("oci:/srv/images", "oci:/srv/images", ""),
        ("oci:images/", "oci:images", ""),
        (
            "image-serve:/var/lib/image-serve",
            *("image-serve:/var/lib/image-serve", ""),
        ),
        ("memory:test", "memory:test", ""),
        ("memory:5000", "memory:5000", ""),
        ("oci:5000/a", "oci:5000", "a"),
        ("oci:/srv/images//ns", "oci:/srv/images", "ns"),
        ("oci:images//ns/x/", "oci:images", "ns/x"),
        ("image-serve:/srv//a//b", "image-serve:/srv//a", "b"),
        ("oci:/srv//", "oci:/srv", ""),
    ],
)
def test_parse(text, registry, prefix):
    """A registry and a path, or a transport and its place."""
    assert Location.parse(text) == Location(registry, prefix)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "docker://",
        "http://r.io",
        "r.io:99999",
        "r.io/A",
        "-x",
        "a b",
        "oci:",
        "oci:/srv//A",
        "oci:/srv//../x",
    ],
)
def test_bad(text):
    """Anything else is refused."""
    with pytest.raises(errors.InvalidReference):
        Location.parse(text)


@pytest.mark.parametrize(
    ("text", "part", "whole"),
    [
        ("", "registry", "HOST[:PORT]"),
        ("docker://", "registry", "HOST[:PORT]"),
        ("host:", "port", "host:PORT"),
        ("host:/a", "port", "host:PORT"),
        ("oci:", "directory", "oci:DIRECTORY"),
        ("image-serve:/", "directory", "image-serve:DIRECTORY"),
        ("oci://a", "directory", "oci:DIRECTORY"),
    ],
)
def test_cut_short(text: str, part: str, whole: str) -> None:
    """The part that is missing is named, and shown in its place."""
    with pytest.raises(errors.InvalidReference) as caught:
        Location.parse(text)
    assert str(caught.value) == f"{text!r}: no {part}; write {whole}"


@pytest.mark.parametrize(
    ("address", "registry"),
    [
        ("192.168.24.1", "192.168.24.1:8787"),
        ("uc.example.com", "uc.example.com:8787"),
        ("fd00::1", "[fd00::1]:8787"),
        ("[fd00::1]", "[fd00::1]:8787"),
    ],
)
def test_undercloud(address, registry):
    """The undercloud's registry has its port, IPv6 its brackets."""
    assert str(Location.of_host(address, 8787)) == registry


@pytest.mark.parametrize(
    ("place", "repository"),
    [(Location("r.io"), "ns/x"), (Location("r.io", "a/b"), "a/b/ns/x")],
)
def test_repository(place, repository):
    """A path below the registry is in front of every repository."""
    assert place.repository("ns/x") == repository


def test_bad_repository():
    """A path that is none is refused."""
    with pytest.raises(errors.InvalidReference):
        Location("r.io").repository("NS/x")


@pytest.mark.parametrize(
    "text", ["r.io", "r.io/a", "oci:/srv", "oci:/srv//a/b"]
)
def test_text(text):
    """A place is written as it is named in parameters."""
    assert str(Location.parse(text)) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [("host:5000/a", True), ("oci:4000", True), ("oci:/srv", False)],
)
def test_only_a_registry_is_one(text: str, expected: bool) -> None:
    """A transport with its place is no registry."""
    assert Location.parse(text).is_registry is expected
