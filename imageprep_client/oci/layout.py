"""The files of an image layout, and its ``index.json``: the manifests in it.

Rules: OCI image spec, image-layout.md. A tag is an entry with the annotation
``org.opencontainers.image.ref.name``. A root without a tag is an entry
without it; what an index names needs no entry.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import document as documents
from imageprep_client.oci import mediatypes
from imageprep_client.oci import reference as references
from imageprep_client.oci.descriptor import Descriptor

INDEX = "index.json"
LAYOUT = "oci-layout"
VERSION = "1.0.0"
#: The content of ``oci-layout``.
LAYOUT_CONTENT = json.dumps({"imageLayoutVersion": VERSION}).encode()
#: The annotation with the tag of an entry.
REF_NAME = "org.opencontainers.image.ref.name"
#: An index of more bytes is refused unread.
MAX_SIZE = 16 * 1024 * 1024


class Index:
    """The document, changed in place; what is not understood is kept."""

    def __init__(self, document: dict[str, Any]) -> None:
        self._document = document
        self._entries: list[dict[str, Any]] = document["manifests"]

    @classmethod
    def empty(cls) -> Index:
        """That of a layout without manifests."""
        return cls(
            {
                "schemaVersion": 2,
                "mediaType": mediatypes.OCI_INDEX,
                "manifests": [],
            }
        )

    @classmethod
    def parse(cls, content: bytes, name: str) -> Index:
        """Read the bytes of an index.

        :param name: the name of the file in errors.
        :raises InvalidContent: when it is no index.
        """
        try:
            if len(content) > MAX_SIZE:
                raise errors.InvalidReference(f"is over {MAX_SIZE} bytes")
            document = documents.parse(content, "the file")
            for entry in document["manifests"]:
                Descriptor.from_json(entry)
        except (
            *errors.MALFORMED,
            errors.InvalidContent,
            errors.InvalidReference,
        ) as error:
            raise errors.InvalidContent(
                f"{name}: is no index of an image layout:"
                f" {errors.structure(error)}",
                hint="move the directory away and copy the images again",
            ) from None
        return cls(document)

    def render(self) -> bytes:
        return json.dumps(self._document, ensure_ascii=False).encode()

    def roots(self) -> Iterator[Descriptor]:
        """Every entry, tagged or not; a digest may come more than once."""
        return map(Descriptor.from_json, self._entries)

    def tags(self) -> list[str]:
        """All tags, sorted; names that cannot be tags are left out."""
        return sorted(filter(references.is_tag, map(_name, self._entries)))

    def find(self, reference: str) -> Descriptor | None:
        """The entry with this tag or digest; the last one counts."""
        for entry in reversed(self._entries):
            if reference in (_name(entry), entry["digest"]):
                return Descriptor.from_json(entry)
        return None

    def tag(self, descriptor: Descriptor, tag: str) -> None:
        """Point a tag to this manifest.

        A manifest that loses its only tag stays as a root without one.
        """
        for entry in [e for e in self._entries if _name(e) == tag]:
            del entry["annotations"][REF_NAME]
            if self._count(entry["digest"]) > 1:
                self._entries.remove(entry)
        for entry in self._entries:
            if entry["digest"] == descriptor.digest and not _name(entry):
                break
        else:
            entry = descriptor.to_json()
            self._entries.append(entry)
        entry["annotations"] = {**_annotations(entry), REF_NAME: tag}

    def add(self, descriptor: Descriptor, name: str | None = None) -> None:
        """Add a root, regardless of other entries.

        :param name: its reference name.
        """
        entry = descriptor.to_json()
        if name is not None:
            entry["annotations"] = {**_annotations(entry), REF_NAME: name}
        self._entries.append(entry)

    def drop_untagged(self, digests: frozenset[str]) -> None:
        """These need no entries of their own, except for their tags."""
        self._entries[:] = [
            entry
            for entry in self._entries
            if _name(entry) or entry["digest"] not in digests
        ]

    def remove(self, digest: str) -> None:
        """Remove a manifest and its tags."""
        self._entries[:] = [
            entry for entry in self._entries if entry["digest"] != digest
        ]

    def _count(self, digest: str) -> int:
        return sum(entry["digest"] == digest for entry in self._entries)


def _annotations(entry: dict[str, Any]) -> dict[str, Any]:
    annotations = entry.get("annotations")
    return annotations if isinstance(annotations, dict) else {}


def _name(entry: dict[str, Any]) -> str:
    return str(_annotations(entry).get(REF_NAME) or "")
