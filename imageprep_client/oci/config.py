"""Configs of images: labels, platform, and the unpacked layers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.oci import document as documents

#: The same bound as for manifests; a config names no content.
MAX_SIZE = 4 * 1024 * 1024
_FIELDS = frozenset(
    ("config", "rootfs", "os", "architecture", "variant", "created")
)
_LABELS, _DIFF_IDS = frozenset(["Labels"]), frozenset(["diff_ids"])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ImageConfig:
    """The properties of an image that this package uses.

    :ivar created: RFC 3339, or None.
    :ivar diff_ids: the digests of the unpacked layers, the lowest first.
    """

    labels: Mapping[str, str] = dataclasses.field(default_factory=dict)
    created: str | None = None
    os: str | None = None
    architecture: str | None = None
    diff_ids: tuple[str, ...] = ()


def parse(content: bytes, what: str) -> ImageConfig:
    """Read an image config.

    :param what: what messages call it.
    :raises InvalidContent: when it is not as the OCI image spec has it, or
        could be read in two ways.
    """
    document = documents.parse(content, f"{what}: image config")
    config = _object(document, "config", what)
    rootfs = _object(document, "rootfs", what)
    for part, names in (
        (document, _FIELDS),
        (config, _LABELS),
        (rootfs, _DIFF_IDS),
    ):
        if problem := documents.misreadable(part, names):
            raise errors.InvalidContent(f"{what}: image config: {problem}")
    diff_ids = rootfs.get("diff_ids") or ()
    if not isinstance(diff_ids, list | tuple):
        raise _malformed(what, "rootfs.diff_ids")
    labels = _object(config, "Labels", what)
    return ImageConfig(
        # Null is an empty string, as for the decoder of Go.
        labels={
            key: "" if value is None else str(value)
            for key, value in labels.items()
        },
        created=_text(document, "created"),
        os=_text(document, "os"),
        architecture=_text(document, "architecture"),
        diff_ids=tuple(map(str, diff_ids)),
    )


def _object(
    document: Mapping[str, Any], key: str, what: str
) -> Mapping[str, Any]:
    """An object in a document; null and nothing are an empty one."""
    value = document.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _malformed(what, key)
    return value


def _text(document: Mapping[str, Any], key: str) -> str | None:
    value = document.get(key)
    return value if isinstance(value, str) and value else None


def _malformed(what: str, key: str) -> errors.InvalidContent:
    return errors.InvalidContent(
        f"{what}: image config is not as the OCI image spec has it: {key}"
    )
