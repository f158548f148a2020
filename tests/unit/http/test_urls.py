"""URLs that registries hand out are followed only where that is safe."""

from __future__ import annotations

import traceback

import pytest

from imageprep_client import errors
from imageprep_client.http import urls

HTTPS_HOST = "https://registry.example.com"
HTTPS = "https://registry.example.com/v2/"


def test_shown_hides_secrets() -> None:
    """Users, passwords and signed queries are in no message."""
    text = urls.shown("https://user:secret@host:5000/v2/x?X-Signature=secret")
    assert text == "https://host:5000/v2/x"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://Host.Example/x", ("https", "host.example", 443)),
        ("http://host/x", ("http", "host", 80)),
        ("http://[::1]:5000/x", ("http", "::1", 5000)),
    ],
)
def test_origin(url: str, expected: tuple[str, str, int]) -> None:
    """Default ports are filled in and hosts are lower case."""
    assert urls.origin(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "ftp://host/x",
        "host/x",
        "http://",
        "http://host:port/",
        "http://host:0/",
        "http://[x/",
        "http://host\\.other/",
        "http://a host/",
        "http://../",
        "http://./",
        "http://[fe80::1%25eth0]/",
    ],
)
def test_origin_refuses_the_rest(url: str) -> None:
    """A text that is no HTTP URL is refused."""
    with pytest.raises(errors.ServerFault):
        urls.origin(url)


@pytest.mark.parametrize(
    "host",
    ["localhost", "a.localhost", "127.0.0.1", "127.1", "::1", "0x7f000001"],
)
def test_loopback(host: str) -> None:
    """This host is known in every notation."""
    assert urls.is_loopback(host)


@pytest.mark.parametrize(
    "host", ["quay.io", "localhost.example.com", "10.0.0.1", "2001:db8::1"]
)
def test_not_loopback(host: str) -> None:
    """Others are not this host."""
    assert not urls.is_loopback(host)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254",
        "[::1]",
        "0.0.0.0",  # noqa: S104 - nothing is bound
        "[::]",
        "[fe80::1]",
        "[::ffff:169.254.169.254]",
        "[::ffff:127.0.0.1]",
        "localhost",
        "2852039166",
        "224.0.0.1",
    ],
)
def test_follow_refuses_internal_targets(host: str) -> None:
    """Nobody points us into our own host or link (CVE-2026-48978)."""
    with pytest.raises(errors.ServerFault, match=r"^redirect: refused"):
        urls.follow(HTTPS, f"https://{host}/latest", "redirect")


@pytest.mark.parametrize(
    ("base", "location"),
    [
        ("http://127.0.0.1:5000/v2/", "http://127.0.0.1:5000/x"),
        ("http://127.0.0.1:5000/v2/", "http://localhost:5001/x"),
        ("http://169.254.1.1:5000/v2/", "http://169.254.1.1:5000/x"),
        (HTTPS, "https://cdn.example.net/x?signature=1"),
    ],
)
def test_follow_allows(base: str, location: str) -> None:
    """The same server, this host from this host, and the open net."""
    assert urls.follow(base, location, "redirect") == location


def test_follow_resolves_relative_locations() -> None:
    """A location may be a path."""
    assert (
        urls.follow(HTTPS, "/v2/x", "x") == "https://registry.example.com/v2/x"
    )


@pytest.mark.parametrize(
    ("base", "location", "expected"),
    [
        (HTTPS, "http://registry.example.com/x?y=z", f"{HTTPS_HOST}/x?y=z"),
        (f"{HTTPS_HOST}:5000/v2/", "http://registry.example.com:5000/x", None),
        (f"{HTTPS_HOST}:5000/v2/", "http://registry.example.com/x", None),
        (HTTPS, "http://registry.example.com:8080/x", ""),
        (HTTPS, "http://other.example.com/x", ""),
        (HTTPS, "http://me@registry.example.com/x", ""),
        (HTTPS, "/v2/x", ""),
        (HTTPS, "http://[bad/x", ""),
        ("http://registry.example.com/", "http://registry.example.com/x", ""),
    ],
)
def test_locations_keep_the_tls_of_their_server(
    base: str, location: str, expected: str | None
) -> None:
    """A server that does not know of its TLS names itself without it."""
    if expected is None:
        expected = f"{HTTPS_HOST}:5000/x"
    assert urls.with_tls_of(base, location) == (expected or location)


def test_follow_has_no_fragments() -> None:
    """A query can be appended to what is followed."""
    place = "https://registry.example.com/v2/x?state=1"
    assert urls.follow(HTTPS, "/v2/x?state=1#part", "x") == place


def test_follow_keeps_tls() -> None:
    """Nothing leads from https to http."""
    with pytest.raises(errors.ServerFault, match="from https") as caught:
        urls.follow(HTTPS, "http://registry.example.com/x", "redirect")
    assert not caught.value.temporary


@pytest.mark.parametrize(
    ("location", "evidence"),
    [
        ("https://[bad/", "to a malformed URL"),
        ("https://host:port/", "to a malformed URL"),
        ("https://good.example\\.evil.example/", "to a malformed URL"),
        ("https://host:0/", "to a malformed URL"),
        ("/" + "x" * 9000, "to a URL of over 8192 characters"),
        ("ftp://host/", "to a URL that is not HTTP"),
        ("http://host/x?secret", "from https to http://host/x"),
    ],
)
def test_refusals_name_the_object(location: str, evidence: str) -> None:
    """Which answer about what named the URL is in the message."""
    what = "quay.io/ns/name: redirect"
    with pytest.raises(errors.ServerFault) as caught:
        urls.follow(HTTPS, location, what)
    assert str(caught.value) == f"{what}: refused: {evidence}"
    assert not caught.value.temporary


def test_follow_refuses_users() -> None:
    """A URL brings no credentials of its own."""
    with pytest.raises(errors.ServerFault, match="user in it") as caught:
        urls.follow(HTTPS, "https://user:secret@example.com/", "redirect")
    assert "secret" not in str(caught.value)


def test_same_origin_normalises_ports() -> None:
    """A default port may be written or not."""
    assert urls.same_origin("https://a/x", "https://a:443/y")
    assert not urls.same_origin("https://a/x", "https://a:5000/x")
    assert not urls.same_origin("https://a/x", "http://a/x")


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://quay.io", "https://quay.io/v2/auth"),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("https://registry-1.docker.io", "https://auth.docker.io/token"),
        ("https://registry.redhat.io", "https://sso.redhat.com/auth"),
        ("https://a.example.co.uk", "https://b.example.co.uk/"),
        ("http://127.0.0.1:5000", "http://localhost:5001/token"),
        ("http://10.0.0.1:5000", "http://10.0.0.1:5001/token"),
        ("https://gitlab.example.com:5050", "https://gitlab.example.com/jwt"),
        ("http://reg.example.com:5000", "https://auth.example.com/token"),
    ],
)
def test_credentials_may_go(registry: str, realm: str) -> None:
    """Token servers of the same site, and well-known ones."""
    assert urls.may_have_credentials(registry, realm)


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        ("https://quay.io", "https://evil.example/"),
        ("https://docker.io", "https://docker.io.attacker.example/"),
        ("https://victim.azurecr.io", "https://evil.azurecr.io/"),
        ("https://victim.co.uk", "https://evil.co.uk/"),
        ("https://10.0.0.1", "https://10.0.0.2/"),
        ("https://registry", "https://other/"),
        ("https://evil.example", "https://auth.docker.io/"),
        ("http://reg.example.com:5000", "http://auth.example.com/token"),
        ("http://127.0.0.1:5000", "http://10.0.0.1:5000/token"),
    ],
)
def test_credentials_stay(registry: str, realm: str) -> None:
    """Other sites get none, however alike their names are."""
    assert not urls.may_have_credentials(registry, realm)


def test_no_password_in_a_cause() -> None:
    """No error is chained that quotes a malformed URL."""
    url = "https://me:can/ary@host/"
    with pytest.raises(errors.ServerFault) as caught:
        urls.origin(url)
    told = "".join(traceback.format_exception(caught.value))
    assert "'can'" not in told


def test_shown_is_printable() -> None:
    """Control characters are escaped, and the length is bounded."""
    assert urls.shown("https://host/a\x1b[2Jb") == "https://host/a%1B[2Jb"
    assert len(urls.shown("https://host/" + "x" * 9000)) < 400
