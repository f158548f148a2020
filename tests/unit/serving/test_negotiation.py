"""Which manifest a tag answers with."""

from __future__ import annotations

import pytest

from imageprep_client.oci import mediatypes
from imageprep_client.serving import apache, negotiation
from imageprep_client.stores.imageserve.typemap import Variant

INDEX = Variant(mediatypes.OCI_INDEX, "sha256:" + "1" * 64)
IMAGE = Variant(mediatypes.OCI_MANIFEST, "sha256:" + "2" * 64)


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", INDEX),
        ("*/*", INDEX),
        ("application/*", INDEX),
        (mediatypes.OCI_INDEX, INDEX),
        (mediatypes.DOCKER_INDEX, INDEX),
        (mediatypes.OCI_MANIFEST, IMAGE),
        (mediatypes.DOCKER_MANIFEST, IMAGE),
        ("text/html", IMAGE),
    ],
)
def test_choice(accept: str, chosen: Variant) -> None:
    """The index for who takes any index, else the image."""
    assert negotiation.choose([INDEX, IMAGE], accept) == chosen


@pytest.mark.parametrize("only", [INDEX, IMAGE])
def test_no_choice(only: Variant) -> None:
    """The only variant is chosen, whatever is asked for."""
    assert negotiation.choose([only], "text/html") == only


def test_nothing() -> None:
    """Without variants there is nothing to give."""
    assert negotiation.choose([], "*/*") is None


def test_apache_has_the_same_rule() -> None:
    """The virtual host tells the same clients apart."""
    pattern = negotiation.TAKES_INDEX.pattern
    text = apache.virtual_host("/srv", "*:80")
    assert f"RewriteCond %{{HTTP:Accept}} !{pattern}\n" in text
