"""Referrers: how a list of them is written, and tags that stand for them.

OCI distribution spec, "Listing Referrers" and "Referrers Tag Schema".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

# Of a digest a tag has no more than 64 characters, so that of SHA-512 is cut.
# cosign appends what kind of artifact it is.
_ATTACHED = re.compile(
    r"((?:sha256|sha512)-[0-9a-f]{64})(?:\.(?:sig|att|sbom))?"
)


def index(descriptors: Iterable[Descriptor]) -> bytes:
    """An image index that lists these."""
    return json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": mediatypes.OCI_INDEX,
            "manifests": [descriptor.to_json() for descriptor in descriptors],
        }
    ).encode()


def tag_of(subject: str) -> str:
    """The tag under which the referrers of this digest are listed, where a
    registry has no API for them.
    """
    algorithm, _, encoded = subject.partition(":")
    return f"{algorithm[:32]}-{encoded[:64]}"


def subject_tag(tag: str) -> str:
    """`tag_of` what a tag is attached to; empty for other tags.

    Attached are the list of referrers itself, and what cosign makes of it
    for signatures, attestations and bills of materials.
    """
    match = _ATTACHED.fullmatch(tag)
    return match[1] if match else ""
