"""Names as messages may show them.

A user may have put a password where a registry's or an image's name is
expected. That is refused, and the message goes into logs.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# The digest behind the @ of a name, be it a wrong one.
_DIGEST = re.compile(r"@(sha[0-9]+:[^@]*|[a-z0-9+._-]+:[0-9a-fA-F]{32,})")


def redacted(text: str) -> str:
    """The text without the password in it: ``user:***@host``.

    Text before the last ``@``, but for that of a digest, is taken for a
    user and a password, whatever characters they have; in a URL a user
    alone may be a token.
    """
    start = text.rfind("@")
    digest = text[start:] if start >= 0 else ""
    if not _DIGEST.fullmatch(digest):
        digest = ""
    name = text.removesuffix(digest)
    found = _SCHEME.match(name)
    scheme = found.group() if found else ""
    owner, at, host = name.removeprefix(scheme).rpartition("@")
    user, colon, _ = owner.partition(":")
    if colon:
        owner = f"{user}:***"
    elif scheme and at:
        owner = "***"
    return f"{scheme}{owner}{at}{host}{digest}"
