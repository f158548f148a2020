"""Content that verifies itself."""

from __future__ import annotations

import io

import pytest

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import verify

DATA = b"0123456789" * 10
GOOD = Descriptor.of(DATA, "x/y")
LYING = Descriptor("x/y", GOOD.digest, 2**62)


class Endless:
    """A stream without an end that counts what was taken."""

    def __init__(self) -> None:
        self.taken = 0

    def read(self, size: int = -1, /) -> bytes:
        self.taken += size
        return b"x" * size

    def close(self) -> None: ...


@pytest.mark.parametrize("size", [1, 7, 100, 1000, -1])
def test_good_content_passes(size):
    """Whatever the size of the reads, the content comes whole."""
    content = verify.from_bytes(DATA, GOOD)
    parts = []
    while part := content.read(size):
        parts.append(part)
    assert b"".join(parts) == DATA
    assert content.read(1) == b""


def test_reading_nothing():
    """A read of nothing is no end."""
    content = verify.from_bytes(DATA, GOOD)
    assert content.read(0) == b""
    assert content.read() == DATA


@pytest.mark.parametrize(
    ("data", "descriptor", "error", "told"),
    [
        (b"x" * 100, GOOD, errors.DigestMismatch, "expected sha256:"),
        (DATA[:99], GOOD, errors.SizeMismatch, "99 bytes, expected 100"),
        (DATA + b"x", GOOD, errors.SizeMismatch, "more than 100 bytes"),
        (DATA, LYING, errors.SizeMismatch, "100 bytes, expected"),
    ],
    ids=["another digest", "too short", "too long", "a size of exbibytes"],
)
def test_other_content(data, descriptor, error, told):
    """Other bytes, fewer and more are refused; nothing is allocated first."""
    with pytest.raises(error, match=told):
        verify.from_bytes(data, descriptor).read()


def test_endless_stream_is_left_at_once():
    """At most one byte more than the size is taken from it."""
    stream = Endless()
    content = verify.VerifiedContent(stream, GOOD)
    with pytest.raises(errors.SizeMismatch):
        content.read()
    assert stream.taken == 101


def test_close_closes_the_stream():
    """Leaving the block closes what is under it."""
    stream = io.BytesIO(DATA)
    with verify.VerifiedContent(stream, GOOD):
        pass
    assert stream.closed


def test_verified_content_is_hashed_once():
    """Content that verifies this descriptor is used as it is."""
    content = verify.from_bytes(DATA, GOOD)
    assert verify.verified(GOOD, content) is content
    other = Descriptor.of(b"", "x/y")
    assert verify.verified(other, content) is not content


def test_read_all_bounds():
    """A small thing that is not small is refused."""
    assert verify.read_all(io.BytesIO(DATA), 100, "n") == DATA
    with pytest.raises(errors.SizeMismatch, match="n: more than 99 bytes"):
        verify.read_all(io.BytesIO(DATA), 99, "n")
