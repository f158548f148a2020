"""The description of a manifest in the headers of a response."""

from __future__ import annotations

import re

from imageprep_client import errors
from imageprep_client.http.transport import Response
from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

#: A header of registries that keep signatures beside images, such as Pulp and
#: that of OpenShift.
SIGNATURES = "X-Registry-Supports-Signatures"
#: A SHA-256 digest without its algorithm, as some registries send it.
_BARE = re.compile(r"[0-9a-f]{64}")


def described(
    what: str, reference: str, response: Response
) -> Descriptor | None:
    """The descriptor in a response to HEAD; None if it is incomplete."""
    digest = claimed_digest(what, response)
    if digests.is_valid(reference):
        if digest and digest != reference and _same_kind(digest, reference):
            raise errors.DigestMismatch(
                f"{what}: the registry says it is {digest}"
            )
        digest = reference
    media_type = mediatypes.essence(response.headers.get("Content-Type", ""))
    length = response.length()
    if not digest or not mediatypes.is_manifest(media_type):
        return None
    if length is None or length > manifests.MAX_SIZE:
        return None
    return Descriptor(media_type, digest, length)


def _same_kind(one: str, other: str) -> bool:
    return one.partition(":")[0] == other.partition(":")[0]


def claimed_digest(what: str, response: Response) -> str | None:
    """The digest in the headers, if there is one.

    :raises InvalidContent: if it is malformed (CVE-2024-3727).
    """
    text = response.headers.get("Docker-Content-Digest", "").strip()
    if not text:
        return None
    if _BARE.fullmatch(text):
        text = f"sha256:{text}"
    if not digests.is_valid(text):
        raise errors.InvalidContent(
            f"{what}: the registry says the invalid digest {text[:100]!r}"
        )
    return text


def manifest_type(response: Response, data: bytes) -> str:
    """The media type in the header, or in the manifest if that is vague."""
    media_type = mediatypes.essence(response.headers.get("Content-Type", ""))
    if media_type.startswith("application/vnd."):
        return media_type
    return manifests.type_of(data) or media_type


def page_hint(response: Response) -> str | None:
    """A hint for a senseless answer that is a web page."""
    kind = mediatypes.essence(response.headers.get("Content-Type", ""))
    if kind not in ("text/html", "application/xhtml+xml"):
        return None
    return (
        "the answer is a web page: something in front of the registry sends"
        " it, such as a proxy that asks for a login, or this is another server"
    )
