"""Signatures that a registry keeps beside its images.

The extension is that of OpenShift's registry, "Extended Docker Registry API
for Signatures"; Pulp has it as well.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import document as documents
from imageprep_client.stores.registry.endpoints.replicas import Replica

_MAX_BODY = 16 * 1024 * 1024
_MAX_SIGNATURES = 1024


def read(place: Replica, digest: str) -> list[bytes]:
    """The signatures of a manifest; empty if the registry has none.

    :raises StoreError: if they cannot be read.
    """
    requests = place.requests
    request = requests.manifest("GET", digest)._replace(
        url=f"/extensions/v2/{requests.path}/signatures/{digest}", headers={}
    )
    response = place.connect().call(request, {200, 404})
    if response.status == 404:
        response.discard()
        return []
    what = f"{request.what}: signatures"
    document = documents.parse(response.body(_MAX_BODY), what)
    try:
        return list(_contents(document))
    except errors.MALFORMED:
        raise errors.InvalidContent(f"{what}: not as specified") from None


def _contents(document: Mapping[str, Any]) -> Iterator[bytes]:
    listed = document["signatures"]
    if len(listed) > _MAX_SIGNATURES:
        raise ValueError("too many")
    for one in listed:
        if one["type"] == "atomic" and one["schemaVersion"] == 2:
            yield base64.b64decode(one["content"], validate=True)
