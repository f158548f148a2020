"""Texts as messages may show them, without secrets.

A user may have put a password where a registry's or an image's name is
expected. That is refused, and the message goes into logs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

#: Shown in place of a secret.
MASK = "***"
# Words of the names of options and variables whose values are secrets.
_SECRETS = (
    "credential",
    "passcode",
    "passphrase",
    "password",
    "secret",
    "token",
)
# The password of a URL, https://user:password@host/.
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
# The query of a URL may be a signature that lets anybody in.
_URL_QUERY = re.compile(r"(://[^\s?#'\"]*)\?[^\s'\"]+")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
# The digest after the @ of a name, possibly an invalid one.
_DIGEST = re.compile(r"@(sha[0-9]+:[^@]*|[a-z0-9+._-]+:[0-9a-fA-F]{32,})")


def is_secret(name: str) -> bool:
    """Whether the value of this name is a secret.

    :param name: in lower case; of an option perhaps abbreviated.
    """
    return any(
        secret in part or (len(part) > 2 and secret.startswith(part))
        for part in name.split("-")
        for secret in _SECRETS
    )


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
    match = _SCHEME.match(name)
    scheme = match.group() if match else ""
    owner, at, host = name.removeprefix(scheme).rpartition("@")
    user, colon, _ = owner.partition(":")
    if colon:
        owner = f"{user}:{MASK}"
    elif scheme and at:
        owner = MASK
    return f"{scheme}{owner}{at}{host}{digest}"


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """The text without these secrets, nor passwords and queries of URLs.

    :param secrets: the longest first: one may be a part of another.
    """
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _URL_PASSWORD.sub(rf"\1:{MASK}@", text)
    return _URL_QUERY.sub(rf"\1?{MASK}", text)
