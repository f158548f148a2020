"""The URL of a git server, and whom it is asked by, apart.

What a program is called with everybody on the host can read. So git, and what
git starts, gets a URL without a password, and the password another way.
"""

from __future__ import annotations

import re
from urllib import parse

# The last @ ends a password that should have it encoded, as curl reads it.
_CREDENTIALS = re.compile(r"([A-Za-z][\w+.-]*://)([^/?#:]*):([^/?#]*)@")


def public(url: str) -> str:
    """The URL without its password.

    Without the user, too, where git asks for that: it may be a token, with a
    password that is a mere word.
    """
    return _CREDENTIALS.sub(_without_password, url, count=1)


def credentials(url: str) -> str:
    """The user and the password of a URL, each on a line, decoded.

    Both lines are empty when it has no password, or when git would not ask
    for one, as with ssh.
    """
    found = _CREDENTIALS.search(url)
    if found is None or not _asks(found):
        return "\n"
    return "\n".join(map(parse.unquote, found.group(2, 3)))


def _without_password(found: re.Match[str]) -> str:
    scheme, user = found.group(1, 2)
    return scheme if _asks(found) else f"{scheme}{user}@"


def _asks(found: re.Match[str]) -> bool:
    """Whether git asks for credentials, by the scheme."""
    return found[1].lower() in ("http://", "https://")
