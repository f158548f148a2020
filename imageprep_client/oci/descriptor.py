"""Descriptors: what content is, how long it is, and its digest."""

from __future__ import annotations

import dataclasses
import sys
import types
from collections.abc import Mapping
from typing import Any, Self

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import document as documents
from imageprep_client.oci import mediatypes
from imageprep_client.oci import platform as platforms

# The sizes that every implementation can hold.
_MAX_SIZE = 2**63 - 1
_FIELDS = frozenset(
    {
        "mediaType",
        "digest",
        "size",
        "platform",
        "annotations",
        "artifactType",
        "urls",
        "data",
    }
)
_NOTHING: Mapping[str, str] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True, slots=True)
class Descriptor:
    """A promise about content, as in the OCI image spec, descriptor.md.

    Two descriptors are equal when type, digest and size are: the rest is
    said about the place that names the content, not about the content.
    """

    media_type: str
    digest: str
    size: int
    platform: platforms.Platform | None = dataclasses.field(
        default=None, compare=False
    )
    annotations: Mapping[str, str] = dataclasses.field(
        default_factory=lambda: _NOTHING, compare=False
    )
    artifact_type: str = dataclasses.field(default="", compare=False)
    urls: tuple[str, ...] = dataclasses.field(default=(), compare=False)

    def __post_init__(self) -> None:
        digests.check(self.digest)
        if not 0 <= self.size <= _MAX_SIZE:
            raise errors.InvalidReference(
                f"{self.digest}: invalid size {self.size}"
            )

    @classmethod
    def of(cls, content: bytes, media_type: str) -> Self:
        """The descriptor of these bytes."""
        return cls(media_type, digests.of(content), len(content))

    @classmethod
    def from_json(cls, document: object) -> Self:
        """From its JSON form, in a manifest or an index.

        :raises InvalidReference: when a part is missing or malformed.
        """
        if not isinstance(document, Mapping):
            raise errors.InvalidReference("a descriptor is not an object")
        if problem := documents.misreadable(document, _FIELDS):
            raise errors.InvalidReference(f"descriptor: {problem}")
        digest = digests.check(document.get("digest"))
        media_type = document.get("mediaType")
        if not isinstance(media_type, str) or not media_type:
            raise errors.InvalidReference(f"{digest}: no media type")
        size = document.get("size")
        if not isinstance(size, int) or isinstance(size, bool):
            raise errors.InvalidReference(f"{digest}: invalid size {size!r}")
        platform = document.get("platform")
        annotations = document.get("annotations")
        return cls(
            # Images share their layers, and there are many images.
            sys.intern(media_type),
            sys.intern(digest),
            size,
            platforms.Platform.from_json(platform)
            if isinstance(platform, Mapping)
            else None,
            {str(k): str(v) for k, v in annotations.items()}
            if isinstance(annotations, Mapping)
            else _NOTHING,
            str(document.get("artifactType") or ""),
            _urls(digest, document.get("urls")),
        )

    def to_json(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
        }
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = dict(self.annotations)
        if self.urls:
            document["urls"] = list(self.urls)
        if self.platform:
            document["platform"] = {
                key: value
                for key, value in dataclasses.asdict(self.platform).items()
                if value
            }
        return document

    @property
    def is_manifest(self) -> bool:
        """Whether it describes a manifest or an index, not a blob."""
        return mediatypes.is_manifest(self.media_type)

    def is_for(self, wanted: platforms.Platform) -> bool:
        """Whether it names a platform that serves the one wanted."""
        return self.platform is not None and self.platform.matches(wanted)

    @property
    def is_external(self) -> bool:
        """Whether it describes a layer that is pulled from URLs.

        OCI image spec, "Non-Distributable Layers". The URLs are never
        followed. Such a layer without URLs can only be in a registry.
        """
        return bool(self.urls) and mediatypes.is_foreign(self.media_type)


def _urls(digest: str, value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise errors.InvalidReference(f"{digest}: urls is not a list")
    return tuple(map(str, value))
