"""Paths of the distribution API."""

from __future__ import annotations

import pytest

from imageprep_client.serving import route
from imageprep_client.serving.route import RequestTarget

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v2", RequestTarget("version")),
        ("/v2/", RequestTarget("version")),
        ("/v2/_catalog", RequestTarget("catalog")),
        ("/v2/a/b/tags/list", RequestTarget("tags", "a/b")),
        ("/v2/a/manifests/17.1", RequestTarget("manifest", "a", "17.1")),
        (f"/v2/a/manifests/{DIGEST}", RequestTarget("manifest", "a", DIGEST)),
        (f"/v2/a/blobs/{DIGEST}", RequestTarget("blob", "a", DIGEST)),
        (f"/v2/a/referrers/{DIGEST}", RequestTarget("referrers", "a", DIGEST)),
        (
            "/v2/blobs/b/manifests/manifests/x",
            RequestTarget("manifest", "blobs/b/manifests", "x"),
        ),
    ],
)
def test_parse(path: str, asked: RequestTarget) -> None:
    """Each path of the API is one route."""
    assert route.parse(path) == asked


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/", 404, "NAME_UNKNOWN"),
        ("/v3/", 404, "NAME_UNKNOWN"),
        ("/v2/a", 404, "NAME_UNKNOWN"),
        ("/v2/../tags/list", 404, "NAME_UNKNOWN"),
        ("/v2/a//b/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/A/blobs/{DIGEST}", 404, "NAME_UNKNOWN"),
        (f"/v2/a/blobs/{DIGEST}\n", 400, "DIGEST_INVALID"),
        ("/v2/a/blobs/..", 400, "DIGEST_INVALID"),
        ("/v2/a/referrers/latest", 400, "DIGEST_INVALID"),
        ("/v2/a/manifests/sha256:1", 400, "DIGEST_INVALID"),
        ("/v2/a/manifests/.htaccess", 404, "MANIFEST_UNKNOWN"),
        ("/v2/a/manifests/", 404, "MANIFEST_UNKNOWN"),
    ],
)
def test_refuses(path: str, status: int, code: str) -> None:
    """A malformed path is refused before a file is looked for."""
    with pytest.raises(route.Refusal) as caught:
        route.parse(path)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_body_of_a_refusal() -> None:
    """Refusals have the form of the distribution spec."""
    assert route.read_only().to_json() == {
        "errors": [
            {"code": "UNSUPPORTED", "message": "this registry is read-only"}
        ]
    }
