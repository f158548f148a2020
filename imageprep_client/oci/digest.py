"""Digests: ``<algorithm>:<hex>``, checked before they become a URL or path."""

from __future__ import annotations

import hashlib
import re
from typing import Protocol

from imageprep_client import errors
from imageprep_client.oci.redaction import redacted

# The registered algorithms of the OCI image spec, descriptor.md; anything
# else is refused rather than trusted (CVE-2024-3727).
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")

#: The same grammar, to be embedded in a larger pattern.
PATTERN = _DIGEST.pattern


class Hash(Protocol):
    """The methods of a ``hashlib`` object that this package uses."""

    def update(self, data: bytes | memoryview, /) -> None: ...

    def hexdigest(self) -> str: ...


def is_valid(digest: object) -> bool:
    """Whether this is a digest of a registered algorithm."""
    return isinstance(digest, str) and bool(_DIGEST.fullmatch(digest))


def check(digest: object) -> str:
    """The digest itself when it is valid.

    :raises InvalidReference: when it is anything else.
    """
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise errors.InvalidReference(
            f"invalid digest {redacted(str(digest))[:100]!r}: expected"
            " sha256:<64 hex digits> or sha512:<128 hex digits>"
        )
    return digest


def hasher(digest: str) -> Hash:
    """A fresh hash object of the digest's algorithm."""
    return hashlib.new(check(digest).partition(":")[0])


def of(content: bytes, algorithm: str = "sha256") -> str:
    """The digest of these bytes."""
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"
