"""Parsing paths of the distribution API, and refusals."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Literal

from imageprep_client import errors
from imageprep_client.oci import digest as digests
from imageprep_client.oci import reference as references

Kind = Literal["version", "catalog", "tags", "manifest", "blob", "referrers"]

_TAGS = re.compile(r"/v2/(.+)/tags/list")
_CONTENT = re.compile(r"/v2/(.+)/(manifests|blobs|referrers)/([^/]*)")


class Refusal(Exception):
    """A request that gets an error.

    :ivar status: of HTTP.
    :ivar code: of the OCI distribution spec, "Error Codes".
    :ivar headers: of the response.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers = headers or {}
        self.status = status
        self.code = code
        self.message = message

    def to_json(self) -> dict[str, list[dict[str, str]]]:
        """The body of the response."""
        return {"errors": [{"code": self.code, "message": self.message}]}


@dataclasses.dataclass(frozen=True, slots=True)
class RequestTarget:
    """The content that a path names; names and digests are valid.

    :ivar reference: a tag or digest of a manifest, else a digest.
    """

    kind: Kind
    repository: str = ""
    reference: str = ""


@functools.lru_cache(maxsize=4096)
def parse(path: str) -> RequestTarget:
    """Read a path, without its query, percent signs decoded.

    :raises Refusal: when the API has no such path.
    """
    if path in ("/v2", "/v2/"):
        return RequestTarget("version")
    if path == "/v2/_catalog":
        return RequestTarget("catalog")
    if match := _TAGS.fullmatch(path):
        return RequestTarget("tags", _repository(match[1]))
    if match := _CONTENT.fullmatch(path):
        return _content(_repository(match[1]), match[2], match[3])
    raise name_unknown(path)


def _repository(name: str) -> str:
    try:
        return references.check_repository(name)
    except errors.InvalidReference as error:
        raise name_unknown(name) from error


def _content(repository: str, what: str, reference: str) -> RequestTarget:
    if what == "manifests" and ":" not in reference:
        if references.is_tag(reference):
            return RequestTarget("manifest", repository, reference)
        raise manifest_unknown(reference)
    if not digests.is_valid(reference):
        raise Refusal(400, "DIGEST_INVALID", f"invalid digest {reference!r}")
    if what == "manifests":
        return RequestTarget("manifest", repository, reference)
    kind: Kind = "blob" if what == "blobs" else "referrers"
    return RequestTarget(kind, repository, reference)


def name_unknown(name: str) -> Refusal:
    """No such repository."""
    return Refusal(404, "NAME_UNKNOWN", f"{name!r}: repository unknown")


def manifest_unknown(reference: str) -> Refusal:
    """No such tag or manifest."""
    return Refusal(404, "MANIFEST_UNKNOWN", f"{reference!r}: manifest unknown")


def blob_unknown(digest: str) -> Refusal:
    """No such blob."""
    return Refusal(404, "BLOB_UNKNOWN", f"{digest}: blob unknown")


def read_only() -> Refusal:
    """Nothing can be written here."""
    return Refusal(
        405,
        "UNSUPPORTED",
        "this registry is read-only",
        {"Allow": "GET, HEAD"},
    )
