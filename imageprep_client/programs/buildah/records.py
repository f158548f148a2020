"""What containers/storage recorded of the layers that it unpacked.

It computes the digests of each layer while it unpacks it. They are in the
files ``images.json`` and ``layers.json`` of the storage. These are no
interface, though all releases have them: where they cannot be used, nothing
is known.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

# Of containers/storage, pkg/archive: how a layer was compressed.
_GZIP = 2


class LayerRecords:
    """The records of one storage, as they are now.

    :param store: the storage, as ``buildah info`` describes it.
    """

    def __init__(self, store: Mapping[str, Any]) -> None:
        self._driver = str(store.get("GraphDriverName"))
        self._root = Path(str(store.get("GraphRoot")))

    def compressed(self) -> Mapping[str, Descriptor]:
        """The compressed form of each layer that was pulled, by diff ID.

        Local storage does not keep it: another place has it, or had it.
        """
        pairs = map(_compressed, self._read("layers"))
        return dict(pair for pair in pairs if pair)

    def diff_ids(self, image: str) -> tuple[str, ...] | None:
        """The diff IDs of the layers that an image really has.

        :param image: its ID.
        :returns: the lowest layer first; None when they are not known.
        """
        images = {str(r.get("id")): r for r in self._read("images")}
        if image not in images:
            return None
        layers = {str(r.get("id")): r for r in self._read("layers")}
        found: list[str] = []
        layer = str(images[image].get("layer") or "")
        while layer:
            record = layers.pop(layer, {})
            diff_id = record.get("diff-digest")
            if not isinstance(diff_id, str):
                return None
            found.append(diff_id)
            layer = str(record.get("parent") or "")
        return tuple(reversed(found))

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
