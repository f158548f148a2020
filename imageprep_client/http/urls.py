"""Rules for the URLs that registries give.

Registries give URLs of redirects, uploads, pages and token servers. Each is
checked here before it is used (CVE-2020-15157, CVE-2026-48978, CVE-2026-50151
and similar attacks).
"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
import re
import socket
import urllib.parse

from imageprep_client import errors

PORTS = {"http": 80, "https": 443}
#: The status codes of responses with a ``Location`` to follow.
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: Longer URLs are refused, as they fill the memory.
MAX_URL = 8192
_MAX_SHOWN = 300
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))
# Host names in URLs; libraries disagree about all others.
_HOST = re.compile(
    r"[a-z0-9_]([a-z0-9._-]*[a-z0-9])?[.]?|[0-9a-f]*:[0-9a-f:.]+"
)

#: Domains whose direct children belong to different parties.
_SHARED_SUFFIXES = frozenset(
    {
        "amazonaws.com",
        "azurecr.io",
        "azurewebsites.net",
        "cloudapp.net",
        "cloudfront.net",
        "github.io",
        "gitlab.io",
        "googleapis.com",
        "herokuapp.com",
        "jfrog.io",
        "pkg.dev",
        "run.app",
        "windows.net",
    }
)
#: Second-level labels that are no names of owners, as in ``example.co.uk``.
_GENERIC_LABELS = frozenset({"ac", "co", "com", "edu", "gov", "net", "org"})
#: Token servers of well-known registries on sites of their own.
_TOKEN_SERVERS = frozenset(
    {
        ("registry-1.docker.io", "auth.docker.io"),
        ("registry.redhat.io", "sso.redhat.com"),
        ("registry.connect.redhat.com", "sso.redhat.com"),
        ("nvcr.io", "authn.nvidia.com"),
    }
)

#: Scheme, host and port.
Origin = tuple[str, str, int]
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


#: The URLs of a run have many paths and few origins.
_BEFORE_PATH = re.compile(r"[a-zA-Z]+://[^/?#]+")


def shown(url: str) -> str:
    """The URL as messages show it: no query, no user, no password."""
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return "a malformed URL"
    host = parts.netloc.rpartition("@")[2]
    text = urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))
    # Terminals obey control characters.
    text = urllib.parse.quote(text[:_MAX_SHOWN], safe=_PRINTABLE)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


@functools.lru_cache(maxsize=1024)
def origin(url: str) -> Origin:
    """Scheme, host and port; default ports are filled in.

    :raises ServerFault: when the URL is malformed or no HTTP URL.
    """
    try:
        return _origin(url)
    except ValueError as error:
        raise _refused(shown(url), str(error)) from None


def _origin(url: str) -> Origin:
    if len(url) > MAX_URL:
        raise ValueError(f"a URL of over {MAX_URL} characters")
    before_path = _BEFORE_PATH.match(url)
    return _parsed_origin(before_path.group() if before_path else url)


@functools.lru_cache(maxsize=64)
def _parsed_origin(url: str) -> Origin:
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError:
        # The error may quote a password.
        raise ValueError("a malformed URL") from None
    scheme = parts.scheme.lower()
    if scheme not in PORTS or not parts.hostname:
        raise ValueError("a URL that is not HTTP")
    if port == 0 or not _HOST.fullmatch(parts.hostname):
        raise ValueError("a malformed URL")
    return scheme, parts.hostname.rstrip("."), port or PORTS[scheme]


def authority(url: str) -> str:
    """``host[:port]`` of a URL, without the default port."""
    scheme, host, port = origin(url)
    text = f"[{host}]" if ":" in host else host
    return text if port == PORTS[scheme] else f"{text}:{port}"


def is_https(text: object) -> bool:
    """Whether this is a URL of a server with TLS."""
    try:
        return isinstance(text, str) and _origin(text)[0] == "https"
    except ValueError:
        return False


def is_host(text: str) -> bool:
    """Whether this is the name or address of a host, without brackets."""
    return bool(_HOST.fullmatch(text))


def host_of(authority: str) -> str:
    """The host in ``host[:port]``, without brackets."""
    return urllib.parse.urlsplit(f"//{authority}").hostname or ""


def address(host: str) -> Address | None:
    """The address in `host`, in any notation that resolvers accept."""
    try:
        parsed: Address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        found_v4 = None
        with contextlib.suppress(OSError):
            # Short, octal and hexadecimal forms, such as 127.1.
            found_v4 = ipaddress.IPv4Address(socket.inet_aton(host))
        return found_v4
    if isinstance(parsed, ipaddress.IPv6Address) and parsed.ipv4_mapped:
        return parsed.ipv4_mapped
    return parsed


def network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    """Parse a network, ``address/bits``; None for other text."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_network(text, strict=False)
    return None


def is_loopback(host: str) -> bool:
    """Whether the host is this host by its name or literal address."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    parsed = address(host)
    return parsed is not None and parsed.is_loopback


def is_internal(host: str) -> bool:
    """Whether the host is this host, or on its link.

    Clouds serve metadata on the link. Other hosts have no reason to refer to
    it.
    """
    found = address(host)
    return is_loopback(host) or (
        found is not None
        and (found.is_link_local or found.is_unspecified or found.is_multicast)
    )


def with_tls_of(base: str, location: str) -> str:
    """The `location`, with ``https:`` if it is on the server of `base`.

    A registry behind a proxy that terminates TLS may name its own host with
    ``http:``.
    """
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(location)
        scheme, host, port = _origin(location)
        base_scheme, base_host, base_port = origin(base)
        same = host == base_host and port in (PORTS["http"], base_port)
        downgrade = (base_scheme, scheme) == ("https", "http")
        if downgrade and same and "@" not in parts.netloc:
            netloc = authority(base)
            return parts._replace(scheme="https", netloc=netloc).geturl()
    return location


def follow(base: str, location: str, what: str) -> str:
    """The absolute URL of a `location` in the response from `base`.

    :param what: the object and what named it, such as
        ``"quay.io/ns/name: redirect"``.
    :raises ServerFault: if it contains a user, leaves TLS, or refers to this
        host or its link from elsewhere; not temporary.
    """
    target = location  # the next lines report what is wrong with it
    with contextlib.suppress(ValueError):
        # A query is appended to some, and no fragment is ever sent.
        target = urllib.parse.urljoin(base, location).partition("#")[0]
    try:
        scheme, host, port = _origin(target)
    except ValueError as error:
        raise _refused(what, f"to {error}") from None
    base_scheme, base_host, base_port = origin(base)
    if "@" in urllib.parse.urlsplit(target).netloc:
        raise _refused(what, f"to {shown(target)} with a user in it")
    if (base_scheme, scheme) == ("https", "http"):
        raise _refused(what, f"from https to {shown(target)}")
    elsewhere = (host, port) != (base_host, base_port)
    if (
        elsewhere
        and is_internal(host)
        and not (is_loopback(base_host) and is_loopback(host))
    ):
        raise _refused(what, f"from {base_host} to {shown(target)}")
    return target


def same_origin(one: str, other: str) -> bool:
    """Whether scheme, host and port are equal."""
    return origin(one) == origin(other)


def may_have_credentials(registry: str, realm: str) -> bool:
    """Whether a token server may receive the credentials of a registry.

    Another port of the same host may, as GitLab has its token server there.
    Another host of the same site may with TLS: permission to use a registry
    without TLS does not extend to other hosts.

    :param registry, realm: URLs; `realm` passed `follow` before.
    """
    _, home, _ = origin(registry)
    scheme, host, _ = origin(realm)
    if home == host:
        return True
    if is_loopback(home) and is_loopback(host):
        return True
    if scheme == "http" or address(home) or address(host):
        return False
    if (home, host) in _TOKEN_SERVERS:
        return True
    site = _site(home)
    return site is not None and site == _site(host)


def _site(host: str) -> str | None:
    """The part of a host name that has one owner, or None if unclear."""
    labels = host.split(".")
    count = 2
    if len(labels) > 2 and labels[-2] in _GENERIC_LABELS:
        count = 3
    site = ".".join(labels[-count:])
    if len(labels) == 1 or site in _SHARED_SUFFIXES:
        return None
    return site


def _refused(what: str, evidence: str) -> errors.ServerFault:
    return errors.ServerFault(f"{what}: refused: {evidence}", temporary=False)
