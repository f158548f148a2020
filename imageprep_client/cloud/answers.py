"""Checking the responses of an object store."""

from __future__ import annotations

import hashlib
import json

import requests

from imageprep_client import errors

_CHUNK = 64 * 1024
#: More of an object, or of a page of a list, is not read.
MAX_SIZE = 16 * 1024 * 1024


def check(response: requests.Response, what: str) -> None:
    """Raise the error of a response that is no success.

    :param what: the object of the request, for errors.
    :raises PlanConflict: when the store has a newer object.
    :raises NoSpace: when the store is full, or the quota is reached.
    :raises PlanError: for any other failure.
    """
    status = response.status_code
    if response.ok and status != requests.codes.accepted:
        return
    evidence = f"({response.request.method} {status})"
    if status in (requests.codes.accepted, requests.codes.conflict):
        raise errors.PlanConflict(
            f"{what}: somebody else has written a newer one {evidence}"
        )
    if response.request.method == "PUT" and status in _NO_ROOM:
        raise errors.NoSpace(
            f"{what}: the object store has no room, or the quota is reached"
            f" {evidence}"
        )
    problem = _PROBLEMS.get(status, "the object store fails")
    raise errors.PlanError(f"{what}: {problem} {evidence}")


#: Statuses after which a request is repeated.
FOR_NOW = frozenset(
    {
        # The token has expired; the next request gets another.
        requests.codes.unauthorized,
        requests.codes.request_timeout,
        requests.codes.bad_gateway,
        requests.codes.service_unavailable,
        requests.codes.gateway_timeout,
    }
)
_NO_ROOM = frozenset(
    {
        requests.codes.request_entity_too_large,
        requests.codes.insufficient_storage,
    }
)
_PROBLEMS = {
    requests.codes.unauthorized: "the object store does not take the token",
    requests.codes.forbidden: "this user may not do that",
    requests.codes.not_found: "there is no such container",
}


def body(response: requests.Response) -> bytes | None:
    """Read `MAX_SIZE` bytes and one at most; None when it arrives damaged."""
    content = bytearray()
    try:
        for chunk in response.iter_content(_CHUNK):
            content += chunk
            if len(content) > MAX_SIZE:
                return bytes(content[: MAX_SIZE + 1])
    except requests.RequestException:
        return None
    # An object made of segments has another ETag, in quotes.
    expected = response.headers.get("ETag", "")
    if (
        len(expected) == 32
        and "X-Object-Manifest" not in response.headers
        and "Content-Encoding" not in response.headers
        and md5(content) != expected
    ):
        return None
    return bytes(content)


def listing(response: requests.Response, what: str) -> list[dict[str, str]]:
    """The entries of a page; each has a ``name`` or a ``subdir``.

    :raises PlanError: when it is no page of a list.
    """
    content = body(response)
    if content == b"":
        return []
    try:
        page = json.loads(content or b"")
        if isinstance(page, list) and all(map(_is_entry, page)):
            return page
    except (ValueError, RecursionError):
        pass
    raise errors.PlanError(f"{what}: the object store gives no list (GET)")


def _is_entry(entry: object) -> bool:
    if not isinstance(entry, dict):
        return False
    name = entry.get("name") or entry.get("subdir")
    return isinstance(name, str) and name != ""


def md5(content: bytes | bytearray) -> str:
    """The ETag of an object with this content."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
