"""The virtual host with which Apache serves a tree; text only."""

from __future__ import annotations

import json
import re

from imageprep_client import errors
from imageprep_client.oci import mediatypes
from imageprep_client.serving.address import Address

# Apache's configuration gives a meaning to "\, ${}, %{} and, in the path of
# a Directory, to *?[].
_PATH = re.compile(r"/[^\x00-\x1f\x7f\"'\\*?\[\]{}$%<>#`~]*")

_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_NAME = rf"({_PART}(?:/{_PART})*)"
_TAG = r"([a-zA-Z0-9_][a-zA-Z0-9._-]{0,127})"
_DIGEST = r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})"

_INDEX_TYPES = f"{mediatypes.OCI_INDEX}, {mediatypes.DOCKER_INDEX}"
_MANIFEST_TYPES = f"{mediatypes.OCI_MANIFEST}, {mediatypes.DOCKER_MANIFEST}"
# As in `serving.negotiation`.
_TAKES_INDEX = r"(image\.index|manifest\.list|application/\*|\*/\*)"

_EMPTY_INDEX = {
    "schemaVersion": 2,
    "mediaType": mediatypes.OCI_INDEX,
    "manifests": [],
}


def virtual_host(tree: str, listen: str) -> str:
    """The configuration of a virtual host that serves this tree.

    It answers the pull category of the OCI distribution spec, lists tags and
    repositories, and answers for referrers. It also serves trees that
    tripleo-common wrote.

    :param tree: the absolute path of the tree.
    :param listen: ``host:port``; ``*`` is every address.
    :raises InvalidArgument: if either cannot be written into a configuration.
    """
    if not _PATH.fullmatch(tree):
        raise errors.InvalidArgument(
            f"{tree[:300]!r} cannot stand in Apache's configuration",
            hint="give an absolute path without quotes, wildcards and other"
            " characters that Apache treats specially",
        )
    address = Address.parse(listen)
    if address.port == 0:
        raise errors.InvalidArgument(f"no port in {listen!r}")
    text = _TEMPLATE
    for name, value in {
        "@LISTEN@": str(address),
        "@TREE@": tree.rstrip("/") or "/",
        "@FILE@": "%{DOCUMENT_ROOT}$0",
        "@NAME@": _NAME,
        "@TAG@": _TAG,
        "@DIGEST@": _DIGEST,
        "@TAKES_INDEX@": _TAKES_INDEX,
        "@INDEX_TYPES@": _INDEX_TYPES,
        "@MANIFEST_TYPES@": _MANIFEST_TYPES,
        "@KNOWN_TYPES@": "|".join(map(re.escape, mediatypes.ACCEPT)),
        "@INDEX@": mediatypes.OCI_INDEX,
        "@EMPTY_INDEX@": json.dumps(_EMPTY_INDEX),
        "@DENIED@": _error("DENIED", "access to the file is denied"),
        "@DIGEST_INVALID@": _error("DIGEST_INVALID", "invalid digest"),
        "@MANIFEST_UNKNOWN@": _error("MANIFEST_UNKNOWN", "manifest unknown"),
        "@BLOB_UNKNOWN@": _error("BLOB_UNKNOWN", "blob unknown"),
        "@NAME_UNKNOWN@": _error("NAME_UNKNOWN", "repository unknown"),
        "@UNSUPPORTED@": _error("UNSUPPORTED", "this registry is read-only"),
        "@RANGE@": _error("UNSUPPORTED", "the range is not in the blob"),
    }.items():
        text = text.replace(name, value)
    return text


def _error(code: str, message: str) -> str:
    return json.dumps({"errors": [{"code": code, "message": message}]})


_TEMPLATE = r"""# A registry of container images, read-only: @TREE@
# Needs Apache 2.4.26 or newer with its modules authz_core, headers, mime,
# negotiation and rewrite (Debian: a2enmod headers negotiation rewrite).

# Not needed where another file has it.
Listen @LISTEN@

<VirtualHost @LISTEN@>
    DocumentRoot "@TREE@"
    TraceEnable off

    <Directory "@TREE@">
        Require all granted
        Options SymLinksIfOwnerMatch
        # Beside each manifest a .htaccess says what its type is.
        AllowOverride FileInfo
        # A layer is never unpacked on its way, whatever its name ends in.
        RemoveEncoding .gz
        RemoveCharset .gz .json
        RemoveHandler .gz .json
        <FilesMatch "\.type-map$">
            ForceType application/x-type-map
            SetHandler type-map
        </FilesMatch>
    </Directory>

    RewriteEngine On
    RewriteRule ^ - [E=no-gzip:1,E=no-brotli:1]

    # A $ in the patterns below also matches before a line feed.
    RewriteRule [[:cntrl:]] - [R=404,L]

    RewriteCond %{REQUEST_METHOD} !^(GET|HEAD)$
    RewriteRule ^ - [R=405,L]

    # The API version; a registry that is empty; no referrers. A status of
    # 200 is answered with the text of its ErrorDocument below.
    RewriteRule ^/v2/?$ - [R=200,L]
    RewriteCond %{DOCUMENT_ROOT}/v2/_catalog !-f
    RewriteRule ^/v2/_catalog$ - [R=200,L]
    RewriteRule ^/v2/_catalog$ @FILE@ [L]

    RewriteCond @FILE@ -f
    RewriteRule ^/v2/@NAME@/tags/list$ @FILE@ [L]

    RewriteCond @FILE@ -f
    RewriteCond @FILE@ !-l
    RewriteRule ^/v2/@NAME@/referrers/@DIGEST@$ @FILE@ [L]
    RewriteRule ^/v2/@NAME@/referrers/@DIGEST@$ - [R=200,L]
    RewriteRule ^/v2/@NAME@/referrers/[^/]*$ - [R=400,L]

    # Blobs; tripleo-common added .gz to the names of layers.
    RewriteCond @FILE@ -f
    RewriteCond @FILE@ !-l
    RewriteRule ^/v2/@NAME@/blobs/@DIGEST@$ @FILE@ [L]
    RewriteCond @FILE@.gz -f
    RewriteCond @FILE@.gz !-l
    RewriteRule ^/v2/@NAME@/blobs/@DIGEST@$ @FILE@.gz [L]
    RewriteRule ^/v2/@NAME@/blobs/@DIGEST@$ - [R=404,L]
    RewriteRule ^/v2/@NAME@/blobs/[^/]*$ - [R=400,L]

    # Manifests by digest.
    RewriteCond @FILE@/index.json -f
    RewriteRule ^/v2/@NAME@/manifests/@DIGEST@$ @FILE@/index.json [L]
    # The choice from a type map; not to be requested from outside.
    RewriteCond %{ENV:REDIRECT_STATUS} .
    RewriteRule ^/v2/@NAME@/manifests/@DIGEST@/index\.json$ @FILE@ [L]
    # A tag always has an answer: the index if the client takes any, else an
    # image of it, and what there is in place of what was asked for.
    RewriteCond %{HTTP:Accept} .
    RewriteCond %{HTTP:Accept} !@TAKES_INDEX@
    RewriteRule ^/v2/@NAME@/manifests/ - [E=no-index:1]
    RewriteCond @FILE@.type-map -f
    RewriteRule ^/v2/@NAME@/manifests/@TAG@$ @FILE@.type-map [L]
    # The older form of a tag, a link to the directory of the manifest.
    RewriteCond @FILE@ -l
    RewriteCond @FILE@/index.json -f
    RewriteRule ^/v2/@NAME@/manifests/@TAG@$ @FILE@/index.json [L]
    RewriteCond $2 !^@DIGEST@$
    RewriteRule ^/v2/@NAME@/manifests/([^/]*:[^/]*)$ - [R=400,L]

    RewriteRule ^ - [R=404,L]

    Header always set Docker-Distribution-Api-Version "registry/2.0"
    Header always set X-Content-Type-Options nosniff
    Header always set Allow "GET, HEAD" "expr=%{REQUEST_STATUS} == '405'"
    Header always set Content-Type "application/json" \
        "expr=%{REQUEST_STATUS} =~ /^(40[0345]|416)$/"
    ErrorDocument 400 '@DIGEST_INVALID@'
    ErrorDocument 403 '@DENIED@'
    ErrorDocument 404 '@NAME_UNKNOWN@'
    ErrorDocument 405 '@UNSUPPORTED@'
    ErrorDocument 416 '@RANGE@'

    <LocationMatch "^/v2/?$">
        ErrorDocument 200 "{}"
        Header always set Content-Type "application/json"
    </LocationMatch>
    <LocationMatch "^/v2/_catalog$">
        ErrorDocument 200 '{"repositories": []}'
        Header always set Content-Type "application/json"
    </LocationMatch>
    <LocationMatch "^/v2/.+/tags/list$">
        ForceType application/json
    </LocationMatch>
    <LocationMatch "^/v2/.+/referrers/[^/]+$">
        ErrorDocument 200 '@EMPTY_INDEX@'
        Header always set Content-Type "@INDEX@" \
            "expr=%{REQUEST_STATUS} == '200'"
    </LocationMatch>
    <LocationMatch "^/v2/.+/blobs/(?<DIGEST>[^/]+)$">
        ErrorDocument 404 '@BLOB_UNKNOWN@'
        ForceType application/octet-stream
        Header set Content-Type application/octet-stream
        Header set Docker-Content-Digest "%{MATCH_DIGEST}e"
        Header set ETag "\"%{MATCH_DIGEST}e\""
        Header set Cache-Control "max-age=31536000, immutable"
    </LocationMatch>
    <LocationMatch "^/v2/.+/manifests/">
        ErrorDocument 404 '@MANIFEST_UNKNOWN@'
        RequestHeader unset Negotiate
        RequestHeader set Accept "@INDEX_TYPES@, */*;q=0.5" env=!no-index
        RequestHeader set Accept "@MANIFEST_TYPES@, */*;q=0.01" env=no-index
        # A .htaccess names any type; no other one is that of a manifest.
        Header set Content-Type "application/octet-stream" \
            "expr=%{CONTENT_TYPE} !~ m#^(@KNOWN_TYPES@)$#"
        # tripleo-common writes it without its quotes.
        Header edit ETag "^\"?(sha[0-9]+:[0-9a-f]+)\"?$" "\"$1\""
    </LocationMatch>
</VirtualHost>
"""
