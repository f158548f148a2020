"""Tags that are made of digests."""

from __future__ import annotations

import pytest

from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references
from imageprep_client.oci import referrers


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_tag_of(algorithm: str) -> None:
    """The specification cuts a digest to 64 characters."""
    digest = digests.of(b"x", algorithm)
    tag = referrers.tag_of(digest)
    assert tag == f"{algorithm}-{digest.partition(':')[2][:64]}"
    assert references.is_tag(tag)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
@pytest.mark.parametrize("suffix", ["", ".sig", ".att", ".sbom"])
def test_subject_tag(algorithm: str, suffix: str) -> None:
    """Lists of referrers and cosign's artifacts lead to their subject."""
    tag = referrers.tag_of(digests.of(b"x", algorithm))
    assert referrers.subject_tag(f"{tag}{suffix}") == tag


@pytest.mark.parametrize(
    "tag",
    [
        "17.1",
        f"sha256-{'a' * 63}.sig",
        f"sha256-{'a' * 65}",
        f"sha256-{'a' * 64}.other",
        f"sha256-{'A' * 64}",
        f"md5-{'a' * 64}",
        "",
    ],
)
def test_other_tags(tag: str) -> None:
    """All else is a tag of its own."""
    assert referrers.subject_tag(tag) == ""
