"""Resuming a blob where an earlier push was interrupted."""

from __future__ import annotations

from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.stores import base, verify


def fetch(
    blob: Descriptor,
    source: base.ReadableStore,
    fetches_from: base.FetchesFrom | None,
    keeps_partial: base.KeepsPartial | None,
) -> base.Content:
    """The blob, verified; only what the destination lacks is fetched.

    The beginning that the destination keeps is read and hashed with the rest,
    so damage to it is detected at the end. It is used once: the next call
    fetches the whole blob.

    :param fetches_from: the power of the source to send the rest.
    :param keeps_partial: the power of the destination to keep a beginning.
    :raises NotFound: when the source does not have it.
    """
    if keeps_partial and fetches_from:
        kept = keeps_partial.partial(blob)
        if kept is not None:
            beginning, length = kept
            joined = _Joined(beginning, length, blob, fetches_from)
            return verify.VerifiedContent(joined, blob)
    return source.fetch(blob)


class _Joined(base.Closing):
    """The beginning of a blob, and then its rest from the source."""

    def __init__(
        self,
        beginning: base.Content,
        length: int,
        blob: Descriptor,
        source: base.FetchesFrom,
    ) -> None:
        self._content = beginning
        self._left = length
        self._length = length
        self._blob = blob
        self._source: base.FetchesFrom | None = source

    def read(self, size: int = -1, /) -> bytes:
        if self._source is None:
            return self._content.read(size)
        wanted = self._left if size < 0 else min(size, self._left)
        chunk = self._content.read(wanted)
        self._left -= len(chunk)
        if chunk:
            return chunk
        # If the beginning was truncated meanwhile, the rest begins earlier.
        self._content.close()
        offset = self._length - self._left
        self._content = self._source.fetch_from(self._blob, offset)
        self._source = None
        return self._content.read(size)

    def close(self) -> None:
        self._content.close()
