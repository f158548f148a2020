"""Taking up blobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, memory, verify
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content
from imageprep_client.transfer import engine, resume

MIB = 1024 * 1024
BLOB = content.blob("big", 4 * MIB)
IMAGE = content.image("x", [BLOB])


class Counting(memory.MemoryStore):
    """Counts the bytes that leave it, and breaks where it is told to."""

    break_at: int | None = None

    def __init__(self, home: memory.MemoryRegistry, repository: str) -> None:
        super().__init__(home, repository)
        self.given = 0

    def fetch(self, descriptor: Descriptor) -> verify.VerifiedContent:
        if descriptor != BLOB.descriptor:
            return super().fetch(descriptor)
        return verify.VerifiedContent(_Stream(self, 0), descriptor)

    def fetch_from(self, descriptor: Descriptor, offset: int):
        return _Stream(self, offset)


class _Stream:
    def __init__(self, store: Counting, position: int) -> None:
        self._store = store
        self._position = position

    def read(self, size: int = -1, /) -> bytes:
        broken = self._store.break_at
        if broken is not None and self._position >= broken:
            self._store.break_at = None
            raise errors.NotFound("gone in the middle")
        end = len(BLOB.data) if size < 0 else self._position + size
        chunk = BLOB.data[self._position : end]
        self._position += len(chunk)
        self._store.given += len(chunk)
        return chunk

    def close(self) -> None: ...

    def __enter__(self):
        return self

    def __exit__(self, *exc_info: object) -> None: ...


@pytest.fixture
def source() -> Counting:
    store = Counting(memory.MemoryRegistry(), "a")
    for piece in IMAGE.pieces:
        store.push(
            piece.descriptor, verify.from_bytes(piece.data, piece.descriptor)
        )
    store.tag(IMAGE.descriptor, "1")
    return store


def copy(source: base.ReadableStore, tree: ImageServeTree) -> Descriptor:
    store = tree.store("ns/a")
    return engine.copy(source, "1", store, "1", observer=Observer()).descriptor


def test_only_the_rest_is_fetched(source: Counting, tmp_path: Path) -> None:
    """After a run that broke off, the next fetches what is missing."""
    source.break_at = 3 * MIB
    with pytest.raises(errors.CopyError, match="gone in the middle"):
        copy(source, ImageServeTree(tmp_path))
    source.given = 0
    tree = ImageServeTree(tmp_path)
    with tree.lock(print):
        assert tree.store("ns/a").holds(copy(source, tree))
    assert source.given == MIB


def test_broken_beginning_is_noticed(source: Counting, tmp_path: Path) -> None:
    """A beginning with wrong bytes costs a whole fetch, no more."""
    ImageServeTree(tmp_path).check_writable()
    name = f"{BLOB.descriptor.digest}.1.part"
    (tmp_path / ".incoming" / name).write_bytes(bytes(2 * MIB))
    tree = ImageServeTree(tmp_path)
    with tree.lock(print):
        assert tree.store("ns/a").holds(copy(source, tree))
    assert source.given == 6 * MIB


def test_source_without_ranges(tmp_path: Path) -> None:
    """A source that cannot give the rest gives the whole."""
    tree = ImageServeTree(tmp_path)
    plain = memory.MemoryRegistry().store("a")
    plain.push(BLOB.descriptor, verify.from_bytes(BLOB.data, BLOB.descriptor))
    with resume.fetch(BLOB.descriptor, plain, None, tree.store("b")) as stream:
        assert stream.read() == BLOB.data


def test_read_sizes(source: Counting, tmp_path: Path) -> None:
    """The seam shows in no read."""
    tree = ImageServeTree(tmp_path)
    store = tree.store("ns/a")
    source.break_at = 2 * MIB
    with pytest.raises(errors.CopyError):
        copy(source, tree)
    with resume.fetch(BLOB.descriptor, source, source, store) as stream:
        parts = []
        while part := stream.read(300_000):
            parts.append(part)
    assert b"".join(parts) == BLOB.data
