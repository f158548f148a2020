"""Beginnings of blobs that interrupted pushes left."""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base
from imageprep_client.stores.imageserve import ImageServeStore, ImageServeTree
from imageprep_client.testing import content

MIB = 1024 * 1024
BLOB = content.blob("big", 4 * MIB)


class Breaking(io.BytesIO):
    """A stream that fails after some bytes."""

    def __init__(self, data: bytes, error: BaseException) -> None:
        super().__init__(data)
        self.error = error

    def read(self, size: int | None = -1, /) -> bytes:
        chunk = super().read(size)
        if not chunk:
            raise self.error
        return chunk


def never(_: str) -> None:
    raise AssertionError("nobody else has the lock")


def interrupted(
    store: ImageServeStore, length: int, error: BaseException
) -> None:
    """A push that ends with this error after so many bytes."""
    with pytest.raises(type(error)):
        store.push(BLOB.descriptor, Breaking(BLOB.data[:length], error))


def kept(store: ImageServeStore, blob: Descriptor = BLOB.descriptor) -> bytes:
    """The kept part; checks that its length is as it says."""
    found = store.partial(blob)
    if found is None:
        return b""
    stream, length = found
    with stream:
        data = stream.read()
    assert len(data) == length
    return data


@pytest.fixture
def store(tmp_path: Path) -> ImageServeStore:
    return ImageServeTree(tmp_path).store("ns/a")


def test_power(store: ImageServeStore) -> None:
    """A tree keeps partial blobs, and says so."""
    assert isinstance(store, base.KeepsPartial)


@pytest.mark.parametrize(
    "error", [errors.Unreachable("reset"), KeyboardInterrupt()]
)
def test_beginning_is_kept(
    store: ImageServeStore, error: BaseException
) -> None:
    """The part from before the push broke off is given once."""
    interrupted(store, 3 * MIB, error)
    assert not store.exists(BLOB.descriptor)
    assert kept(store) == BLOB.data[: 3 * MIB]
    assert kept(store) == b""


def test_longest_beginning_wins_last(store: ImageServeStore) -> None:
    """The latest interrupted push is the one that is taken up."""
    for length in (2 * MIB, 3 * MIB):
        interrupted(store, length, errors.Unreachable("reset"))
    assert kept(store) == BLOB.data[: 3 * MIB]


def test_small_beginnings_are_not_kept(
    store: ImageServeStore, tmp_path: Path
) -> None:
    """A small blob leaves no partial file."""
    interrupted(store, 1000, errors.Unreachable("reset"))
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_failure_before_the_first_byte(
    store: ImageServeStore, tmp_path: Path
) -> None:
    """A push that never wrote leaves nothing to look after."""
    (tmp_path / "v2").mkdir()
    store.partial(BLOB.descriptor)
    huge = Descriptor("x/y", BLOB.descriptor.digest, 2**62)
    with pytest.raises(errors.NoSpace, match="free"):
        store.push(huge, BLOB.open())
    assert kept(store) == b""


def test_wrong_content_is_not_kept(
    store: ImageServeStore, tmp_path: Path
) -> None:
    """Content that turned out wrong is no beginning of anything."""
    with pytest.raises(errors.DigestMismatch):
        store.push(BLOB.descriptor, io.BytesIO(bytes(4 * MIB)))
    assert list((tmp_path / ".incoming").iterdir()) == []


def test_killed_run(tmp_path: Path) -> None:
    """The next run finds what a killed one left, and only what is of use."""
    ImageServeTree(tmp_path).check_writable()
    incoming = tmp_path / ".incoming"
    digest = BLOB.descriptor.digest
    (incoming / f"{digest}.1.part").write_bytes(BLOB.data[:MIB])
    (incoming / f"{digest}.2.part").write_bytes(BLOB.data[: 2 * MIB])
    (incoming / f"{digest}.3.part").write_bytes(BLOB.data[:MIB])
    (incoming / "sha256:zz.1.part").write_bytes(BLOB.data)
    (incoming / f"sha256:{'0' * 64}.1.part").write_bytes(b"small")
    old = incoming / f"sha256:{'1' * 64}.1.part"
    old.write_bytes(BLOB.data)
    os.utime(old, (0, time.time() - 30 * 24 * 3600))
    tree = ImageServeTree(tmp_path)
    with tree.lock(never):
        (incoming / "sha256:zz.1.part").unlink()
        assert len(list(incoming.iterdir())) == 1
        assert kept(tree.store("ns/a")) == BLOB.data[: 2 * MIB]
        assert list(incoming.iterdir()) == []


def test_beginning_that_is_too_long(tmp_path: Path) -> None:
    """A part as long as the blob is no beginning of it."""
    ImageServeTree(tmp_path).check_writable()
    name = f"{BLOB.descriptor.digest}.1.part"
    (tmp_path / ".incoming" / name).write_bytes(BLOB.data)
    tree = ImageServeTree(tmp_path)
    with tree.lock(never):
        assert kept(tree.store("ns/a")) == b""


def test_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A symbolic link in the staging directory is no beginning."""
    tree = ImageServeTree(tmp_path / "tree")
    tree.check_writable()
    store = tree.store("ns/a")
    interrupted(store, 2 * MIB, errors.Unreachable("reset"))
    (part,) = (tmp_path / "tree" / ".incoming").iterdir()
    part.unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(2 * MIB))
    part.symlink_to(secret)
    assert kept(store) == b""


def test_success_leaves_nothing(
    store: ImageServeStore, tmp_path: Path
) -> None:
    """After a whole push the staging directory is empty."""
    store.push(BLOB.descriptor, BLOB.open())
    assert list((tmp_path / ".incoming").iterdir()) == []
