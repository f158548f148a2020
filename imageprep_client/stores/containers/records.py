"""What local storage remembers of the layers that it unpacked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.programs.buildah import Buildah

# Of containers/storage, pkg/archive: how a layer was packed.
_GZIP = 2


def pulled_layers(buildah: Buildah) -> Mapping[str, Descriptor]:
    """The packed form of each layer that was pulled, by its diff ID.

    It is not in local storage, only known: somebody has, or had, it. The
    file that it is read from, ``layers.json``, is no interface of buildah's,
    though all its releases have it: where it cannot be used nothing is known,
    which costs time, and nothing else.
    """
    store = buildah.info().get("store") or {}
    directory = f"{store.get('GraphDriverName')}-layers"
    path = Path(str(store.get("GraphRoot")), directory, "layers.json")
    try:
        records = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    if not isinstance(records, list):
        return {}
    found = (_packed(each) for each in records if isinstance(each, dict))
    return dict(each for each in found if each)


def _packed(record: Mapping[str, object]) -> tuple[str, Descriptor] | None:
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
