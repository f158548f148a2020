"""The signatures of a manifest: their locations and formats."""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Self

from imageprep_client import errors
from imageprep_client.oci import document as documents
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.manifest import Manifest
from imageprep_client.oci.referrers import tag_of
from imageprep_client.stores import base, verify
from imageprep_client.trust import lookaside
from imageprep_client.trust.fields import Fields, Malformed
from imageprep_client.trust.lookaside import Lookasides
from imageprep_client.trust.scopes import Subject

ANNOTATION = "dev.cosignproject.cosign/signature"
SIGNATURE_TYPE = "application/vnd.dev.cosign.simplesigning.v1+json"
_ARTIFACT = "application/vnd.dev.cosign.artifact.sig.v1+json"
#: The first bytes of OpenPGP messages: packets of compressed data, of one
#: pass signatures, and of signatures (RFC 4880, 4.2).
_OPENPGP = bytes.fromhex("a0a1a2a3c89091923dc488898a8bc2")
_SIMPLE = b"simple-signing"
_SIGSTORE = b"sigstore-json"


@dataclasses.dataclass(frozen=True, slots=True)
class Signature:
    """An unverified signature.

    :ivar media_type: empty for an OpenPGP message.
    :ivar content: that message, or the payload that sigstore signed.
    """

    media_type: str
    content: bytes
    annotations: Mapping[str, str]

    @classmethod
    def of_blob(cls, blob: bytes) -> Self:
        """Parse a signature of a lookaside.

        :raises InvalidContent: when its format is unknown.
        """
        if blob[:1] and blob[0] in _OPENPGP:
            return cls("", blob, {})
        kind, newline, content = blob[1:].partition(b"\n")
        if blob[:1] == b"\0" and newline and kind == _SIMPLE:
            return cls("", content, {})
        if blob[:1] == b"\0" and newline and kind == _SIGSTORE:
            return cls.from_json(documents.parse(content, "signature"))
        raise errors.InvalidContent("a signature of an unknown format")

    @classmethod
    def from_json(cls, document: object) -> Self:
        """Parse the form of `to_json`, which lookasides use as well.

        :raises InvalidContent: when it is malformed.
        """
        try:
            fields = Fields(document)
            media_type = fields.value("mimeType")
            annotations = fields.value("annotations") or {}
            if not isinstance(media_type, str) or not isinstance(
                annotations, dict
            ):
                raise Malformed("mimeType", "not as specified")
            return cls(media_type, fields.data("payload"), annotations)
        except Malformed as error:
            raise errors.InvalidContent(f"a signature: {error}") from None

    def to_json(self) -> dict[str, Any]:
        return {
            "mimeType": self.media_type,
            "payload": base64.b64encode(self.content).decode(),
            "annotations": dict(self.annotations),
        }


class Signatures:
    """Finds the signatures of one image's manifests.

    :param fetch: returns the content of an http(s) URL; None if it has none.
    :param attached: whether to use signatures in the registry, if the
        configuration enables them.
    :ivar attached: whether they are used.
    """

    def __init__(
        self,
        lookasides: Lookasides,
        subject: Subject,
        fetch: Callable[[str], bytes | None],
        *,
        attached: bool,
    ) -> None:
        self._location = lookasides.location(subject)
        self.attached = attached and lookasides.uses_attachments(subject)
        self._subject = subject
        self._fetch = fetch

    def find(
        self, source: base.ReadableStore, manifest: Descriptor
    ) -> Sequence[Signature]:
        """All signatures of a manifest.

        :raises StoreError: when one cannot be read.
        """
        kept = base.kept_signatures(source, manifest.digest)
        found = list(map(Signature.of_blob, kept or self.beside(manifest)))
        if self.attached:
            found += _attached(source, manifest)
        return found

    def beside(self, manifest: Descriptor) -> Iterator[bytes]:
        """The signatures of a manifest in the lookaside.

        :raises StoreError: when one cannot be read.
        """
        reference = self._subject.reference
        if reference is None:
            return iter(())
        return lookaside.read(
            self._location, reference.repository, manifest.digest, self._fetch
        )


def _attached(
    source: base.ReadableStore, subject: Descriptor
) -> Sequence[Signature]:
    """The signatures under cosign's tag or, without it, by referrers."""
    try:
        tagged = base.resolve_ahead(source, f"{tag_of(subject.digest)}.sig")
        artifacts: Sequence[Descriptor] = [tagged]
    except errors.NotFound:
        artifacts = _referrers(source, subject)
    found: list[Signature] = []
    for artifact in artifacts:
        if artifact.media_type != mediatypes.OCI_MANIFEST:
            raise errors.InvalidContent(
                f"{artifact.digest}: signatures in a manifest of type"
                f" {artifact.media_type}"
            )
        manifest = verify.manifest(source, artifact)
        if len(found) + len(manifest.layers) > lookaside.MAX_SIGNATURES:
            raise errors.InvalidContent(
                f"{artifact.digest}: over {lookaside.MAX_SIGNATURES}"
                " signatures of one image"
            )
        found += _layers(source, manifest)
    return found


def _referrers(
    source: base.ReadableStore, subject: Descriptor
) -> Sequence[Descriptor]:
    if not isinstance(source, base.ListsReferrers):
        return []
    try:
        listed = source.referrers(subject)
    except (errors.NotFound, errors.Refused):
        return []
    return [one for one in listed if one.artifact_type == _ARTIFACT]


def _layers(
    source: base.ReadableStore, manifest: Manifest
) -> Sequence[Signature]:
    """The signatures that a manifest names; each blob is read once."""
    contents: dict[str, bytes] = {}
    left = lookaside.MAX_TOTAL
    for layer in manifest.layers:
        if layer.media_type == SIGNATURE_TYPE and (
            layer.digest not in contents
        ):
            left -= layer.size
            if layer.size > lookaside.MAX_SIZE or left < 0:
                raise errors.InvalidContent(
                    f"{layer.digest}: a signature of {layer.size} bytes"
                )
            contents[layer.digest] = verify.read_all(
                source.fetch(layer), lookaside.MAX_SIZE, layer.digest
            )
    return [
        Signature(layer.media_type, contents[layer.digest], layer.annotations)
        for layer in manifest.layers
        if layer.digest in contents
    ]


def dump(signatures: Sequence[Signature]) -> bytes:
    """Write signatures as one JSON document; see `load`."""
    return json.dumps(
        {"version": 1, "signatures": [s.to_json() for s in signatures]}
    ).encode()


def load(content: bytes) -> Sequence[Signature]:
    """Read the signatures of a document that `dump` wrote.

    :raises InvalidContent: when it is another document.
    """
    document = documents.parse(content, "kept signatures")
    listed = document.get("signatures")
    if document.get("version") != 1 or not isinstance(listed, list):
        raise errors.InvalidContent("kept signatures: of another version")
    return [Signature.from_json(one) for one in listed]
