"""Signatures beside a registry, in any number and size."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.trust import lookaside

_DIGEST = f"sha256:{'0' * 64}"


@pytest.mark.parametrize(
    ("size", "requests"),
    [(1, lookaside.MAX_SIGNATURES + 1), (lookaside.MAX_SIZE, 5)],
)
def test_without_end(size: int, requests: int) -> None:
    """A server that always has one more is asked a bounded number of times."""
    asked = []

    def fetch(url: str) -> bytes:
        asked.append(url)
        return bytes(size)

    with pytest.raises(errors.InvalidContent, match="over 1024 signatures"):
        list(lookaside.read("https://h/p", "ns/app", _DIGEST, fetch))
    assert len(asked) == requests


def test_names() -> None:
    """Signatures are numbered from one on, until one is missing."""
    found = {
        f"https://h/p/ns/app@sha256={'0' * 64}/signature-{n}": b"%d" % n
        for n in (1, 2, 4)
    }
    read = lookaside.read("https://h/p", "ns/app", _DIGEST, found.get)
    assert list(read) == [b"1", b"2"]
