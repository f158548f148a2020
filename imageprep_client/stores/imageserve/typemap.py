"""Type maps: the manifests of a tag, in the format of Apache.

The format is that of Apache's mod_negotiation, section "Type maps".
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence

from imageprep_client.oci import digest as digests
from imageprep_client.oci import mediatypes

_QUALITY = re.compile(r";\s*qs=([0-9.]+)")
_URI = re.compile(rf"({digests.PATTERN})/index\.json")
#: For the manifest that clients without support for indexes get.
FALLBACK_QUALITY = 0.1


@dataclasses.dataclass(frozen=True, slots=True)
class Variant:
    """One manifest that a tag can answer with.

    :ivar quality: from 0 to 1; the highest that the client accepts wins.
    """

    media_type: str
    digest: str
    quality: float = 1.0


def render(tag: str, variants: Sequence[Variant]) -> bytes:
    """The file of a tag.

    Each variant ends with an empty line, the last one too: tripleo-common
    drops a variant that does not.
    """
    text = f"URI: {tag}\n\n"
    for variant in variants:
        quality = "" if variant.quality == 1 else f"; qs={variant.quality}"
        text += f"Content-Type: {variant.media_type}{quality}\n"
        text += f"URI: {variant.digest}/index.json\n\n"
    return text.encode()


def parse(content: bytes) -> tuple[Variant, ...]:
    """The variants in a file, in its order; malformed ones are skipped.

    Nothing but a valid digest is ever taken from a ``URI``.
    """
    variants = []
    for block in re.split(r"\n\s*\n", content.decode("utf-8", "replace")):
        fields = {}
        for line in block.splitlines():
            key, _, value = line.partition(":")
            fields[key.strip().lower()] = value.strip()
        uri = _URI.fullmatch(fields.get("uri", ""))
        content_type = fields.get("content-type")
        if uri and content_type:
            variants.append(
                Variant(
                    mediatypes.essence(content_type),
                    uri[1],
                    _quality(content_type),
                )
            )
    return tuple(variants)


def _quality(content_type: str) -> float:
    match = _QUALITY.search(content_type)
    try:
        return float(match[1]) if match else 1.0
    except ValueError:
        return 1.0


def root(variants: Sequence[Variant]) -> Variant | None:
    """The variant that the tag names: its index, else the first."""
    for variant in variants:
        if variant.media_type in mediatypes.INDEXES:
            return variant
    return variants[0] if variants else None


def fallback(variants: Sequence[Variant]) -> Variant | None:
    """The variant for clients that accept no index, or None."""
    for variant in variants:
        if variant.media_type in mediatypes.MANIFESTS:
            return variant
    return None


class TagIndex:
    """The tags of one repository in memory, while no other run changes them.

    :ivar names: all tags; None until they are read.
    :ivar changes: the number of tags that ``tags/list`` lacks.
    """

    def __init__(self) -> None:
        self.names: set[str] | None = None
        self.changes = 0
        #: Whether `users` is known.
        self.is_loaded = False
        self._variants: dict[str, tuple[Variant, ...]] = {}
        self._users: dict[str, set[str]] = {}

    def load(self, variants: dict[str, tuple[Variant, ...]]) -> None:
        """Index the variants of all tags."""
        self.is_loaded = True
        for tag, named in variants.items():
            self._note(tag, named)

    def users(self, digest: str) -> list[str]:
        """The tags that name a manifest, sorted; after `load`."""
        return sorted(self._users.get(digest, ()))

    def note(self, tag: str, variants: Sequence[Variant]) -> None:
        """Note that a tag was written, or without variants removed."""
        self.changes += 1
        if self.names is not None:
            if variants:
                self.names.add(tag)
            else:
                self.names.discard(tag)
        if self.is_loaded:
            self._note(tag, variants)

    def _note(self, tag: str, variants: Sequence[Variant]) -> None:
        for variant in self._variants.pop(tag, ()):
            self._users[variant.digest].discard(tag)
        if variants:
            self._variants[tag] = tuple(variants)
        for variant in variants:
            self._users.setdefault(variant.digest, set()).add(tag)
