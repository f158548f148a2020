"""Streams to push, those that break among them, and whole reads."""

from __future__ import annotations

import concurrent.futures
import io
from collections.abc import Callable, Iterable

import pytest

from imageprep_client import errors
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base
from imageprep_client.testing import content

#: Words that are no tag, in several ways.
BAD_TAGS = ("", "../x", "a/b", ".hidden", "-dash", "a" * 129, "a b", "a\n")


class Interrupted(Exception):
    """Raised by a stream that breaks; no store raises it."""


class Breaking(io.BytesIO):
    """A stream that raises `Interrupted` where its content ends."""

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if not data or size is None or size < 0:
            raise Interrupted
        return data


def store_all(store: base.Store, *images: content.Image) -> None:
    """Push everything of these images, children first."""
    for image in images:
        push(store, *image.pieces)


def put(store: base.Store, image: content.Image, *tags: str) -> None:
    """Push an image, children first, and tag it."""
    store_all(store, image)
    for tag in tags:
        store.tag(image.descriptor, tag)


def push(store: base.Store, *pieces: content.Piece) -> None:
    """Push pieces in this order."""
    for piece in pieces:
        with piece.open() as stream:
            store.push(piece.descriptor, stream)


def read(store: base.ReadableStore, descriptor: Descriptor) -> bytes:
    """The whole content, as a careful reader takes it: to its end."""
    with store.fetch(descriptor) as stream:
        return b"".join(iter(lambda: stream.read(base.CHUNK), b""))


def assert_missing(store: base.Store, descriptor: Descriptor) -> None:
    """Neither exists nor can be fetched."""
    assert not store.exists(descriptor)
    with pytest.raises(errors.NotFound):
        read(store, descriptor)


def at_once(tasks: Iterable[Callable[[], None]]) -> None:
    """Run the tasks in threads of their own; their errors come out."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result(timeout=60)
