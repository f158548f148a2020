"""Digests."""

from __future__ import annotations

import hashlib

import pytest

from imageprep_client import errors
from imageprep_client.oci import digest

GOOD = ["sha256:" + "0f" * 32, "sha512:" + "0f" * 64]
BAD = [
    "",
    "sha256:",
    "sha256:" + "0F" * 32,
    "sha256:" + "0" * 63,
    "sha512:" + "0" * 64,
    "sha1:" + "0" * 40,
    "sha256:../../../../etc/cron.d/x",
    "sha256:" + "0" * 64 + "\n",
    None,
    5,
]


@pytest.mark.parametrize("text", GOOD)
def test_good(text):
    """Registered algorithms with all their digits are digests."""
    assert digest.is_valid(text)
    assert digest.check(text) == text
    assert digest.hasher(text).hexdigest()


@pytest.mark.parametrize("text", BAD)
def test_bad(text):
    """Anything else is not, and is refused."""
    assert not digest.is_valid(text)
    with pytest.raises(errors.InvalidReference, match="invalid digest"):
        digest.check(text)


@pytest.mark.parametrize("algorithm", ["sha256", "sha512"])
def test_of(algorithm):
    """The digest of bytes is the algorithm's."""
    expected = hashlib.new(algorithm, b"x").hexdigest()
    assert digest.of(b"x", algorithm) == f"{algorithm}:{expected}"
