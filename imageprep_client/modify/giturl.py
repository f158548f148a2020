"""Separate the credentials from the URL of a git server.

Everybody on the host can read command lines. Therefore git and its children
get a URL without a password, and the password in another way.
"""

from __future__ import annotations

import re
from urllib import parse

# Like curl: the last @ ends a password, which should have @ encoded.
_CREDENTIALS = re.compile(r"([A-Za-z][\w+.-]*://)([^/?#:]*):([^/?#]*)@")


def public(url: str) -> str:
    """The URL without its password.

    The user is removed too if git asks for it, because it may be a token.
    """
    return _CREDENTIALS.sub(_without_password, url, count=1)


def credentials(url: str) -> str:
    """The decoded user and password of a URL, each on a line.

    Both lines are empty if the URL has no password, or git does not ask for
    one, as with ssh.
    """
    match = _CREDENTIALS.search(url)
    if match is None or not _asks(match):
        return "\n"
    return "\n".join(map(parse.unquote, match.group(2, 3)))


def _without_password(match: re.Match[str]) -> str:
    scheme, user = match.group(1, 2)
    return scheme if _asks(match) else f"{scheme}{user}@"


def _asks(match: re.Match[str]) -> bool:
    """Whether git asks for credentials with this scheme."""
    return match[1].lower() in ("http://", "https://")
