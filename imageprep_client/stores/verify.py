"""Content that checks its own digest and size while it is read."""

from __future__ import annotations

import contextlib
import io
from typing import Protocol

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.stores.base import CHUNK, Closing, Content, ReadableStore


class _Readable(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...

    def close(self) -> None: ...


class VerifiedContent(Closing):
    """A stream that is exactly what its descriptor says, or raises.

    The bytes are hashed as they pass. The error comes with the read that
    would end the stream, so a consumer that reads until ``b""`` and only
    then makes its copy visible never shows wrong content. No read gives
    bytes past the descriptor's size, however many there are.

    :param name: what the error messages call it.
    :ivar verifies: the descriptor; a wrapper that passes the reads through
        unchanged may carry the same attribute.
    """

    def __init__(
        self, stream: _Readable, descriptor: Descriptor, name: str = ""
    ) -> None:
        self.verifies = descriptor
        self._stream = stream
        self._name = name or descriptor.digest
        self._hash = digests.hasher(descriptor.digest)
        self._left = descriptor.size
        self._verified = False

    def read(self, size: int = -1, /) -> bytes:
        if size == 0 or self._verified:
            return b""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        # A stream that goes on past its size is noticed by asking for one
        # byte more than is left, never by reading to its end.
        chunk = self._stream.read(min(size, self._left + 1))
        if len(chunk) > self._left:
            raise errors.SizeMismatch(
                f"{self._name}: more than {self.verifies.size} bytes"
            )
        if chunk:
            self._left -= len(chunk)
            self._hash.update(chunk)
            return chunk
        self._check()
        return b""

    def _check(self) -> None:
        if self._left:
            got = self.verifies.size - self._left
            raise errors.SizeMismatch(
                f"{self._name}: {got} bytes, expected {self.verifies.size}"
            )
        algorithm = self.verifies.digest.partition(":")[0]
        actual = f"{algorithm}:{self._hash.hexdigest()}"
        if actual != self.verifies.digest:
            raise errors.DigestMismatch(
                f"{self._name}: digest is {actual}, expected"
                f" {self.verifies.digest}",
                actual=actual,
            )
        self._verified = True

    def close(self) -> None:
        self._stream.close()


def verified(expected: Descriptor, content: Content) -> Content:
    """`content`, verified against `expected`.

    Content that verifies the same descriptor already is returned as it is:
    bytes are hashed once.
    """
    if getattr(content, "verifies", None) == expected:
        return content
    return VerifiedContent(content, expected)


def from_bytes(content: bytes, descriptor: Descriptor) -> VerifiedContent:
    """These bytes as verified content."""
    return VerifiedContent(io.BytesIO(content), descriptor)


def read_all(content: Content, limit: int, name: str) -> bytes:
    """All bytes of a small thing, and close it.

    :raises SizeMismatch: when there are more than `limit`.
    """
    with contextlib.closing(content):
        data = content.read(limit + 1)
        while len(data) <= limit and (more := content.read(limit + 1)):
            data += more
    if len(data) > limit:
        raise errors.SizeMismatch(f"{name}: more than {limit} bytes")
    return data


def manifest(store: ReadableStore, descriptor: Descriptor) -> Manifest:
    """A manifest or an index of the store, verified and parsed.

    :raises InvalidContent: when it is not what the descriptor says.
    """
    manifests.check_size(descriptor)
    content = read_all(
        store.fetch(descriptor), manifests.MAX_SIZE, descriptor.digest
    )
    return manifests.parse(content, descriptor.media_type, descriptor.digest)


def holds(store: ReadableStore, descriptor: Descriptor) -> bool:
    """Whether all that a descriptor leads to exists in the store.

    Each part is looked at once: indexes that name the same index again and
    again would take for ever otherwise.
    """
    todo = [descriptor]
    seen: set[tuple[str, int, str]] = set()
    while todo:
        part = todo.pop()
        key = (part.digest, part.size, part.media_type)
        if key in seen:
            continue
        seen.add(key)
        if not store.exists(part):
            return False
        if part.is_manifest:
            child = manifest(store, part)
            todo += [*child.blobs, *child.manifests]
    return True
