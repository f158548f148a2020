"""The records of containers/storage about the layers that it unpacked.

It computes the digests of each layer while unpacking it, and stores them in
the files ``images.json`` and ``layers.json``. The files are not a documented
interface, although all releases have them: if they cannot be used, the layers
are unknown.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

# The number of gzip in pkg/archive of containers/storage.
_GZIP = 2


class LayerRecords:
    """The current records of one storage.

    :param store: the storage, as ``buildah info`` describes it.
    """

    def __init__(self, store: Mapping[str, Any]) -> None:
        self._driver = str(store.get("GraphDriverName"))
        self._root = Path(str(store.get("GraphRoot")))

    def compressed(self) -> Mapping[str, Descriptor]:
        """The compressed form of each layer that was pulled, by diff ID.

        Local storage does not keep it; the registry may still have it.
        """
        pairs = map(_compressed, self._read("layers"))
        return dict(pair for pair in pairs if pair)

    def diff_ids(self, image: str) -> tuple[str, ...] | None:
        """The computed diff IDs of the layers of an image.

        :param image: the ID of the image.
        :returns: the lowest layer first; None if they are not known.
        """
        images = {str(r.get("id")): r for r in self._read("images")}
        if image not in images:
            return None
        layers = {str(r.get("id")): r for r in self._read("layers")}
        diff_ids: list[str] = []
        layer = str(images[image].get("layer") or "")
        while layer:
            record = layers.pop(layer, {})
            diff_id = record.get("diff-digest")
            if not isinstance(diff_id, str):
                return None
            diff_ids.append(diff_id)
            layer = str(record.get("parent") or "")
        return tuple(reversed(diff_ids))

    def _read(self, kind: str) -> list[dict[str, Any]]:
        path = self._root / f"{self._driver}-{kind}" / f"{kind}.json"
        try:
            records = json.loads(path.read_bytes())
        except (OSError, ValueError):
            return []
        if not isinstance(records, list):
            return []
        return [record for record in records if isinstance(record, dict)]


def _compressed(record: Mapping[str, Any]) -> tuple[str, Descriptor] | None:
    if record.get("compression") != _GZIP:
        return None
    try:
        descriptor = Descriptor.from_json(
            {
                "mediaType": mediatypes.OCI_LAYER_GZIP,
                "digest": record.get("compressed-diff-digest"),
                "size": record.get("compressed-size"),
            }
        )
    except errors.InvalidReference:
        return None
    return str(record.get("diff-digest")), descriptor
