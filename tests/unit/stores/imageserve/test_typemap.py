"""Type maps are what Apache and tripleo-common take for one."""

from __future__ import annotations

import pytest

from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import typemap
from imageprep_client.stores.imageserve.typemap import Variant

ONE = "sha256:" + "1" * 64
TWO = "sha512:" + "2" * 128
INDEX = Variant(mediatypes.OCI_INDEX, ONE)
CHILD = Variant(mediatypes.OCI_MANIFEST, TWO, 0.1)


def test_form() -> None:
    """Each variant is a block of its own that ends with an empty line."""
    assert typemap.render("17.1", [INDEX, CHILD]).decode() == (
        "URI: 17.1\n\n"
        f"Content-Type: {mediatypes.OCI_INDEX}\n"
        f"URI: {ONE}/index.json\n\n"
        f"Content-Type: {mediatypes.OCI_MANIFEST}; qs=0.1\n"
        f"URI: {TWO}/index.json\n\n"
    )


def test_round_trip() -> None:
    """A written type map is read again."""
    content = typemap.render("17.1", [INDEX, CHILD])
    assert typemap.parse(content) == (INDEX, CHILD)


@pytest.mark.parametrize(
    "block",
    [
        "",
        "URI: latest",
        f"URI: {ONE}/index.json",
        "Content-Type: a/b\nURI: sha256:../../../../etc/index.json",
        f"Content-Type: a/b\nURI: ../{ONE}/index.json",
        f"Content-Type: a/b\nURI: {ONE}/other.json",
        "\xff\xfe",
    ],
)
def test_malformed_blocks_are_no_variants(block: str) -> None:
    """Nothing but a digest's manifest is ever taken from a file."""
    content = block.encode("latin-1") + b"\n\n" + typemap.render("t", [CHILD])
    assert typemap.parse(content) == (CHILD,)


@pytest.mark.parametrize(
    ("written", "quality"), [("0.5", 0.5), ("1", 1.0), ("0.5.5", 1.0)]
)
def test_quality(written: str, quality: float) -> None:
    """A quality that is no number counts as the highest."""
    content = f"Content-Type: a/b; qs={written}\nURI: {ONE}/index.json\n"
    assert typemap.parse(content.encode())[0].quality == quality


def test_root_is_the_index() -> None:
    """A tag names its index, wherever in the file that is."""
    assert typemap.root([CHILD, INDEX]) == INDEX


def test_root_without_an_index() -> None:
    """Without an index the first variant is what the tag names."""
    assert typemap.root([CHILD]) == CHILD
    assert typemap.root([]) is None


def test_fallback_is_no_index() -> None:
    """Clients that take no index get a manifest, or nothing."""
    assert typemap.fallback([INDEX, CHILD]) == CHILD
    assert typemap.fallback([INDEX]) is None
