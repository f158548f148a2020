"""The response headers of a manifest, in a file that Apache reads."""

from __future__ import annotations

import re

from imageprep_client.oci import digest as digests
from imageprep_client.oci import manifest as manifests
from imageprep_client.oci import mediatypes

#: The most bytes that are read of such a file.
MAX_SIZE = 64 * 1024
_CONTENT_TYPE = re.compile(
    r'^\s*Header\s+set\s+Content-Type\s+"?([^"\s]+)', re.I | re.M
)
_DIGEST = re.compile(
    r'^\s*Header\s+set\s+Docker-Content-Digest\s+"?([^"\s]+)', re.I | re.M
)

#: For a directory of type maps. The virtual host of an undercloud up to
#: Victoria does not tell what they are.
TYPE_MAPS = b"AddType application/x-type-map .type-map\n"
#: The same, also as tripleo-common wrote it up to Wallaby.
OF_TYPE_MAPS = (
    TYPE_MAPS,
    b"AddHandler type-map .type-map\nMultiviewsMatch Handlers\n",
)

#: For the directory of referrers: all are indexes, and where there is none,
#: the empty one answers. A server without mod_rewrite answers 404.
REFERRERS = (
    f"ForceType {mediatypes.OCI_INDEX}\n"
    "<IfModule mod_rewrite.c>\n"
    "RewriteEngine On\n"
    "RewriteCond %{REQUEST_FILENAME} !-f\n"
    "RewriteRule ^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$ index.json [L]\n"
    "</IfModule>\n"
).encode()

#: For a directory of blobs. Apache leaves a Content-Length of 0 out of
#: responses to HEAD, and some clients refuse the blob then. It does not know
#: the value with a space behind it, which is no part of a header's value.
EMPTY_BLOBS = "".join(
    f'<Files "{digests.of(b"", algorithm)}">\n'
    'Header set Content-Length "0 "\n'
    "</Files>\n"
    for algorithm in ("sha256", "sha512")
).encode()


def render(media_type: str, digest: str) -> bytes:
    """The file beside a manifest; the ETag is quoted, as RFC 9110 has it."""
    return (
        f'Header set Content-Type "{media_type}"\n'
        f'Header set Docker-Content-Digest "{digest}"\n'
        f'Header set ETag "\\"{digest}\\""\n'
    ).encode()


def media_type(content: bytes) -> str:
    """The media type that the file sets; empty when it sets none."""
    match = _CONTENT_TYPE.search(content.decode("utf-8", "replace"))
    return mediatypes.essence(match[1]) if match else ""


def digest(content: bytes) -> str:
    """The digest that the file sets; empty when it sets none."""
    match = _DIGEST.search(content.decode("utf-8", "replace"))
    return match[1] if match else ""


def type_inside(content: bytes) -> str:
    """The type that a manifest gives itself, or that its shape shows."""
    return manifests.type_of(content) or mediatypes.OCI_MANIFEST
