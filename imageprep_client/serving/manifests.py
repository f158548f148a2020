"""The manifests of a tree, kept while their files do not change."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.serving import negotiation
from imageprep_client.stores.imageserve import (
    ImageServeStore,
    ImageServeTree,
    layout,
)

#: Manifests, and bytes of each, that are kept.
_MAX_KEPT = 1024
_MAX_SIZE = 64 * 1024

#: For each file values that change with it; None if it is absent.
_Stamps = list[tuple[int, int, int] | None]


@dataclasses.dataclass(frozen=True, slots=True)
class ServedManifest:
    """A manifest to send.

    :ivar media_type: that of a manifest or an index.
    """

    digest: str
    media_type: str
    content: bytes


class ServedManifests:
    """Reads manifests, and each only once while its files stay the same."""

    def __init__(self, tree: ImageServeTree) -> None:
        self._root = os.path.join(tree.path, layout.ROOT)
        self._kept: dict[
            tuple[str, str, bool],
            tuple[Sequence[str], _Stamps, ServedManifest],
        ] = {}

    def get(
        self, store: ImageServeStore, reference: str, accept: str
    ) -> ServedManifest | None:
        """The manifest of a tag or digest; None when there is none.

        :param accept: the value of the header ``Accept``.
        """
        takes_index = ":" in reference or negotiation.takes_index(accept)
        key = (store.repository, reference, takes_index)
        if kept := self._kept.get(key):
            paths, stamps, manifest = kept
            if _stamps(paths) == stamps:
                return manifest
            del self._kept[key]
        # Stamps are taken first, so that a change in between is noticed.
        paths = self._tag_files(store, reference)
        stamps = _stamps(paths)
        digest = self._digest(store, reference, accept)
        if digest is None:
            return None
        files = self._manifest_files(store, digest)
        stamps += _stamps(files)
        served = _read(store, digest)
        if served and len(served.content) <= _MAX_SIZE:
            if len(self._kept) >= _MAX_KEPT:
                self._kept.clear()
            self._kept[key] = ([*paths, *files], stamps, served)
        return served

    def _digest(
        self, store: ImageServeStore, reference: str, accept: str
    ) -> str | None:
        if ":" in reference:
            return reference
        chosen = negotiation.choose(store.variants(reference), accept)
        return chosen.digest if chosen else None

    def _tag_files(self, store: ImageServeStore, reference: str) -> list[str]:
        if ":" in reference:
            return []
        path = f"{self._root}/{store.repository}/manifests/{reference}"
        return [path + layout.TYPE_MAP_SUFFIX, path]

    def _manifest_files(
        self, store: ImageServeStore, digest: str
    ) -> list[str]:
        home = f"{self._root}/{store.repository}/manifests/{digest}"
        return [f"{home}/{layout.MANIFEST}", f"{home}/{layout.HTACCESS}"]


def _read(store: ImageServeStore, digest: str) -> ServedManifest | None:
    try:
        media_type = store.resolve(digest).media_type
    except errors.NotFound:
        return None
    # A tree may contain anything, such as a web page.
    if not mediatypes.is_manifest(media_type):
        return None
    file = store.open_manifest(digest)
    if file is None:
        return None
    with file:
        content = file.read(manifests.MAX_SIZE + 1)
    if len(content) > manifests.MAX_SIZE:
        raise errors.InvalidContent(
            f"{store}@{digest}: larger than {manifests.MAX_SIZE} bytes"
        )
    return ServedManifest(digest, media_type, content)


def _stamps(paths: Sequence[str]) -> _Stamps:
    stamps: _Stamps = []
    for path in paths:
        try:
            status = os.lstat(path)
        except OSError:
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_mtime_ns, status.st_size))
    return stamps
