"""Deletion of content and tags.

OCI distribution spec, "Content Management": a registry may support no
deletion, deletion by digest only, or also deletion of tags.
"""

from __future__ import annotations

from imageprep_client import errors
from imageprep_client.stores.registry import errors as answers
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.session import RegistrySession

_DONE = frozenset({200, 202, 204})
#: Responses of registries that delete manifests only by digest. That of the
#: distribution project takes the tag for a malformed digest.
_NO_TAGS = frozenset({400, 405, 501})
_HINT = (
    "the registry may be read-only, a cache of another one, or not set up to"
    " delete; that of the distribution project needs"
    " REGISTRY_STORAGE_DELETE_ENABLED=true"
)


def delete(registry: RegistrySession, request: Request) -> None:
    """Delete a manifest or a blob by its digest.

    :raises ServerFault: if the registry does not support deletion.
    """
    response = registry.call(request, {*_DONE, 405})
    if response.status != 405:
        response.discard()
        return
    error = answers.from_response(response, request.what, request.unknown)
    error.hint = _HINT
    raise error


def untag(registry: RegistrySession, request: Request) -> None:
    """Delete a tag.

    :raises CannotUntag: if the registry does not support that.
    """
    response = registry.call(request, _DONE | _NO_TAGS)
    if response.status in _DONE:
        response.discard()
        return
    error = answers.from_response(response, request.what, request.unknown)
    if isinstance(error, errors.AccessDenied):
        raise error
    raise errors.CannotUntag(str(error), status=response.status)
