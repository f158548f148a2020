"""Response headers of manifests are written and read."""

from __future__ import annotations

import pytest

from imageprep_client.oci import mediatypes
from imageprep_client.stores.imageserve import htaccess

DIGEST = "sha256:" + "1" * 64


def test_form() -> None:
    """Type, digest, and an ETag in quotes."""
    written = htaccess.render(mediatypes.OCI_MANIFEST, DIGEST).decode()
    assert written.splitlines() == [
        f'Header set Content-Type "{mediatypes.OCI_MANIFEST}"',
        f'Header set Docker-Content-Digest "{DIGEST}"',
        f'Header set ETag "\\"{DIGEST}\\""',
    ]


@pytest.mark.parametrize(
    ("text", "media_type"),
    [
        ('Header set Content-Type "a/b"', "a/b"),
        ("# x\n  header SET content-type a/b\n", "a/b"),
        ('Header set ETag "x"', ""),
        ("", ""),
    ],
)
def test_media_type(text: str, media_type: str) -> None:
    """The type is found however the line is written."""
    assert htaccess.media_type(text.encode()) == media_type
