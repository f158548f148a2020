"""The claim of a signature: containers-signature(5), "JSON data format"."""

from __future__ import annotations

import dataclasses

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import document as documents
from imageprep_client.oci.reference import Reference
from imageprep_client.trust import identity
from imageprep_client.trust.fields import Fields, Malformed

SIMPLE = "atomic container signature"
SIGSTORE = "cosign container image signature"


@dataclasses.dataclass(frozen=True, slots=True)
class Payload:
    """The claim of a signature.

    :ivar digest: of the manifest that was signed.
    :ivar name: of the image as it was signed; None when it is invalid.
    :ivar text: that name as it was written.
    """

    digest: str
    name: Reference | None
    text: str


def parse(content: bytes, kind: str) -> Payload:
    """Parse a claim whose signature was verified.

    :param kind: the expected type, SIMPLE or SIGSTORE.
    :raises Malformed: when it is not as specified.
    """
    try:
        fields = Fields(documents.parse(content, "payload"), "")
    except errors.InvalidContent as error:
        raise Malformed("", str(error)) from None
    fields.exactly("critical", "optional")
    if kind != SIGSTORE or fields.value("optional") is not None:
        _check_optional(fields.part("optional"))
    critical = fields.part("critical")
    critical.exactly("type", "image", "identity")
    if critical.value("type") != kind:
        raise Malformed("critical.type", f"not {kind!r}")
    image, named = critical.part("image"), critical.part("identity")
    image.exactly("docker-manifest-digest")
    named.exactly("docker-reference")
    digest, text = (
        image.value("docker-manifest-digest"),
        named.value("docker-reference"),
    )
    if not isinstance(digest, str) or not digests.is_valid(digest):
        raise Malformed("critical.image", "not a digest")
    if not isinstance(text, str):
        raise Malformed("critical.identity", "not a name")
    try:
        name = identity.name(text)
    except errors.InvalidReference:
        name = None
    return Payload(digest, name, text)


def _check_optional(fields: Fields) -> None:
    creator, time = fields.value("creator"), fields.value("timestamp")
    if not isinstance(creator, str | None):
        raise Malformed("optional.creator", "not a string")
    if isinstance(time, bool) or not isinstance(time, int | float | None):
        raise Malformed("optional.timestamp", "not a number")
    if time is not None and (time != int(time) or abs(time) >= 1 << 63):
        raise Malformed("optional.timestamp", "not an integer")
