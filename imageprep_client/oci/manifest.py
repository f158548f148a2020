"""Manifests and indexes, read but never written again.

A parsed manifest keeps the bytes it came from: those are what is stored, so
its digest, and signatures over it, survive every copy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import document as documents
from imageprep_client.oci import mediatypes
from imageprep_client.oci.descriptor import Descriptor

#: Registries must take manifests up to this size (OCI distribution spec,
#: "Pushing Manifests"); larger ones are refused unread.
MAX_SIZE = 4 * 1024 * 1024
#: More entries than any real index or manifest has.
MAX_ENTRIES = 4096
_FIELDS = frozenset(
    {
        "schemaVersion",
        "mediaType",
        "artifactType",
        "config",
        "layers",
        "manifests",
        "subject",
        "annotations",
    }
)


@dataclasses.dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest or an index.

    :ivar descriptor: what it is.
    :ivar content: its bytes.
    :ivar config: the config blob; None for an index.
    :ivar layers: the layers of a manifest, empty for an index.
    :ivar manifests: the children of an index, empty for a manifest.
    :ivar subject: what it refers to, see "referrers" in the OCI spec.
    :ivar artifact_type: of an artifact, else empty.
    """

    descriptor: Descriptor
    content: bytes
    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None
    artifact_type: str
    annotations: Mapping[str, str]

    @property
    def is_index(self) -> bool:
        return self.descriptor.media_type in mediatypes.INDEXES

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """Config and layers that a store of the image must have."""
        parts = (self.config, *self.layers) if self.config else self.layers
        return tuple(part for part in parts if not part.is_external)

    @property
    def external(self) -> tuple[Descriptor, ...]:
        """Layers that a store of the image need not have."""
        return tuple(layer for layer in self.layers if layer.is_external)

    @property
    def referrer(self) -> Descriptor:
        """How a list of referrers describes this manifest.

        OCI distribution spec, "Listing Referrers": with its annotations, and
        the config's media type where it has no artifact type.
        """
        artifact_type = self.artifact_type
        if not artifact_type and self.config:
            artifact_type = self.config.media_type
        return dataclasses.replace(
            self.descriptor,
            artifact_type=artifact_type,
            annotations=self.annotations,
        )


def check_size(descriptor: Descriptor) -> None:
    """Find out before a manifest is read whether it is too large.

    :raises InvalidContent: when it is.
    """
    if descriptor.size > MAX_SIZE:
        raise errors.InvalidContent(
            f"{descriptor.digest}: manifest of {descriptor.size} bytes is"
            f" over {MAX_SIZE}"
        )


def parse(
    content: bytes,
    media_type: str,
    digest: str | None = None,
    what: str | None = None,
) -> Manifest:
    """Read a manifest or an index.

    :param media_type: what the store says it is; a ``mediaType`` inside that
        says something else is refused (CVE-2021-41190), as is a document
        that could be read as either kind.
    :param digest: its digest where the caller verified it already.
    :param what: what messages call it; by default its digest.
    :raises InvalidContent: when it cannot be trusted to be what it says.
    """
    digest = digest or digests.of(content)
    if len(content) <= _SMALL:
        # What is wrong is found again, for the name that it is told by.
        with contextlib.suppress(errors.InvalidContent):
            return _parse_small(content, media_type, digest)
    return _parse(content, media_type, digest, what)


def _parse(
    content: bytes, media_type: str, digest: str, what: str | None = None
) -> Manifest:
    name = what or digest
    if len(content) > MAX_SIZE:
        raise errors.InvalidContent(
            f"{name}: manifest of {len(content)} bytes is over {MAX_SIZE}"
        )
    document = documents.parse(content, f"{name}: manifest")
    if problem := documents.misreadable(document, _FIELDS):
        raise errors.InvalidContent(f"{name}: manifest: {problem}")
    media_type = mediatypes.essence(media_type)
    _check_kind(name, document, media_type)
    try:
        return _build(
            Descriptor(media_type, digest, len(content)), content, document
        )
    except errors.InvalidReference as error:
        raise errors.InvalidContent(f"{name}: {error}") from error


# Discovery, the copy and the destination read the same manifests; no more
# than 4 MB of them are kept.
_SMALL = 16 * 1024
_parse_small = functools.lru_cache(maxsize=256)(_parse)


def type_of(content: bytes) -> str:
    """The media type of a manifest by its content alone; empty for others.

    It is the one that the manifest gives itself, of whatever kind, or else
    that its fields show: the OCI image spec lets ``mediaType`` be left out.
    """
    try:
        document = documents.parse(content, "manifest")
    except errors.InvalidContent:
        return ""
    if inner := document.get("mediaType"):
        return mediatypes.essence(str(inner))
    if document.get("schemaVersion", 2) != 2:
        return ""
    if "manifests" in document:
        return mediatypes.OCI_INDEX
    # Image configs have a field of this name, too.
    artifact = "config" in document and document.get("schemaVersion") == 2
    return mediatypes.OCI_MANIFEST if artifact or "layers" in document else ""


def _check_kind(name: str, document: dict[str, Any], media_type: str) -> None:
    """Refuse what is not clearly the one kind that `media_type` says."""
    if media_type in mediatypes.DOCKER_SCHEMA1 or (
        document.get("schemaVersion") == 1
    ):
        raise errors.UnsupportedManifest(
            f"{name}: docker schema 1 manifests are not supported",
            hint="push the image again with a docker or podman newer than"
            " 2017",
        )
    if not mediatypes.is_manifest(media_type):
        raise errors.UnsupportedManifest(
            f"{name}: {media_type or 'no media type'} is no manifest type"
        )
    if document.get("schemaVersion") != 2:
        raise errors.InvalidContent(
            f"{name}: manifest without schemaVersion 2"
        )
    # Encoders of Go write what they do not know as null or an empty string.
    inner = document.get("mediaType") or media_type
    if inner != media_type:
        raise errors.InvalidContent(
            f"{name}: manifest says {str(inner)[:100]!r} but was served as"
            f" {media_type!r}"
        )
    index = media_type in mediatypes.INDEXES
    wrong = ("layers", "config") if index else ("manifests",)
    if any(key in document for key in wrong):
        raise errors.InvalidContent(
            f"{name}: {media_type} with {' or '.join(wrong)} is ambiguous"
        )


def _build(
    descriptor: Descriptor, content: bytes, document: dict[str, Any]
) -> Manifest:
    index = descriptor.media_type in mediatypes.INDEXES
    subject = document.get("subject")
    annotations = document.get("annotations")
    return Manifest(
        descriptor=descriptor,
        content=content,
        config=None if index else Descriptor.from_json(document.get("config")),
        layers=() if index else _descriptors(document, "layers"),
        manifests=_descriptors(document, "manifests") if index else (),
        subject=Descriptor.from_json(subject) if subject else None,
        artifact_type=str(document.get("artifactType") or ""),
        annotations={str(k): str(v) for k, v in annotations.items()}
        if isinstance(annotations, Mapping)
        else {},
    )


def _descriptors(document: dict[str, Any], key: str) -> tuple[Descriptor, ...]:
    entries = document.get(key)
    if entries is None:
        # Encoders of Go write an empty list as null, or leave it out.
        return ()
    if not isinstance(entries, list):
        raise errors.InvalidReference(f"{key} is not a list")
    if len(entries) > MAX_ENTRIES:
        raise errors.InvalidReference(f"{key} has over {MAX_ENTRIES} entries")
    return tuple(Descriptor.from_json(entry) for entry in entries)
