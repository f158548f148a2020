"""Facts about a registry: what shows them, and that they stay."""

from __future__ import annotations

from unittest import mock

from imageprep_client.http.transport import Response
from imageprep_client.stores.registry.repository import Request
from imageprep_client.stores.registry.traits import RegistryTraits

MANIFEST = Request("GET", "/v2/a/manifests/1", "a:1")
BLOB = Request("GET", "/v2/a/blobs/sha256:1", "a")


def answer(**headers: str) -> Response:
    made: Response = mock.create_autospec(
        Response, instance=True, status=200, headers=headers
    )
    return made


def test_signatures_that_are_kept() -> None:
    """A registry that said so once need not say so again."""
    traits = RegistryTraits()
    traits.note(MANIFEST, answer(**{"X-Registry-Supports-Signatures": "1"}))
    traits.note(MANIFEST, answer())
    assert traits.keeps_signatures


def test_answered_requests() -> None:
    """The request to ask again whether a registry answers is a small one."""
    traits = RegistryTraits()
    traits.note(MANIFEST, answer())
    traits.note(BLOB, answer())
    assert traits.answered == MANIFEST


def test_looks_after_a_fact() -> None:
    """That mounts do not find own blobs is not unlearned by counting."""
    traits = RegistryTraits()
    traits.mounts_own = False
    for _ in range(100):
        traits.look()
    assert traits.mounts_own is False


def test_requests_of_one_kind() -> None:
    """A rate limit counts reading and looking, manifests and blobs apart."""
    traits = RegistryTraits()
    traits.note(MANIFEST, answer())
    other = MANIFEST._replace(url="/v2/b/manifests/2")
    assert traits.served[other.counted_as] == 1
    for one in (MANIFEST._replace(method="HEAD"), BLOB):
        assert not traits.served[one.counted_as]
