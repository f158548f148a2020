"""Heads of requests and answers, against the RFC and the standard library."""

from __future__ import annotations

import http.client
import io
import random
import string

import pytest

from imageprep_client import errors
from imageprep_client.http import messages

OK = b"HTTP/1.1 200 OK\r\n"


def test_request() -> None:
    """A request says what, where, and how long its body is."""
    head = messages.request_head(
        "PUT", "http://h.example:5000/v2/?a=b%2Fc", {"Accept": "x"}, 3
    )
    assert head == (
        b"PUT /v2/?a=b%2Fc HTTP/1.1\r\nHost: h.example:5000\r\n"
        b"Accept: x\r\nContent-Length: 3\r\n\r\n"
    )


@pytest.mark.parametrize(
    ("method", "length", "given"),
    [
        ("GET", None, None),
        ("HEAD", None, None),
        ("DELETE", None, None),
        ("POST", None, b"0"),
        ("PUT", 0, b"0"),
        ("GET", 2, b"2"),
    ],
)
def test_length_of_request(
    method: str, length: int | None, given: bytes | None
) -> None:
    """A request that may have a body says that there is none."""
    head = messages.request_head(method, "http://h/", {}, length)
    _, found, text = head.partition(b"Content-Length: ")
    assert (text[:-4] if found else None) == given


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://h/", b"h"),
        ("https://h:443/", b"h"),
        ("https://h:80/", b"h:80"),
        ("http://[::1]:5000/", b"[::1]:5000"),
        ("http://[2001:db8::7]/", b"[2001:db8::7]"),
    ],
)
def test_host(url: str, host: bytes) -> None:
    """The host is named as in a URL, without the port that is implied."""
    assert b"\r\nHost: " + host + b"\r\n" in messages.request_head(
        "GET", url, {}, None
    )


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("http://h", b"/"),
        ("http://h?a", b"/?a"),
        ("http://h/a b", b"/a%20b"),
        ('http://h/"<>\\^`{|}', b"/%22%3C%3E%5C%5E%60%7B%7C%7D"),
        ("http://h/%41/\N{LATIN SMALL LETTER E WITH ACUTE}", b"/%41/%C3%A9"),
        ("http://h/a#b?c", b"/a"),
        ("http://h/_-.~!$&'()*+,;=:@[]?/?", b"/_-.~!$&'()*+,;=:@[]?/?"),
        ("http://h/\tb", b"/%09b"),
    ],
)
def test_target(url: str, target: bytes) -> None:
    """Characters that a URL cannot have are encoded, the others are not."""
    assert messages.request_head("GET", url, {}, None).split(b" ")[1] == target


@pytest.mark.parametrize("value", ["a\r\nX: b", "a\nX: b", "a\rb", "a\r\n"])
def test_no_header_hides_in_another(value: str) -> None:
    """A value with a line end is refused; more tries would not help."""
    with pytest.raises(errors.ServerFault, match="line end") as caught:
        messages.request_head("GET", "http://h/", {"Accept": value}, None)
    assert not caught.value.temporary


def test_answer() -> None:
    """Names are alike in any case; what is repeated is a list."""
    head = messages.ResponseHead(
        b"HTTP/1.1 401 No way\r\nwww-authenticate: Basic\r\n"
        b"WWW-Authenticate:\t Bearer x \r\nEmpty:\r\n\r\n"
    )
    assert head.status == 401
    assert dict(head.headers) == {
        "www-authenticate": "Basic, Bearer x",
        "empty": "",
    }
    assert head.headers["Www-Authenticate"] == "Basic, Bearer x"
    assert "EMPTY" in head.headers
    assert head.headers.get("none") is None


def test_repeated_fields() -> None:
    """A value that is repeated unchanged counts once, as with proxies."""
    head = messages.ResponseHead(
        OK + b"Content-Type: a/b\r\nX: y\r\ncontent-type: a/b\r\n\r\n"
    )
    assert head.headers["Content-Type"] == "a/b"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 099 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        OK + b"no colon\r\n\r\n",
        OK + b": no name\r\n\r\n",
        OK + b"Name : space\r\n\r\n",
        OK + b"A: b\r\n folded\r\n\r\n",
        OK + b"A: b\nC: d\r\n\r\n",
        OK + b"A: b\rC: d\r\n\r\n",
        OK + b"A: nul\0\r\n\r\n",
        OK + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n",
        OK + b"Transfer-Encoding: gzip\r\n\r\n",
        OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
        OK + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
        OK + 2 * b"Transfer-Encoding: chunked\r\n" + b"\r\n",
    ],
)
def test_no_answer(data: bytes) -> None:
    """A head that is malformed, or can be read in two ways, is refused."""
    with pytest.raises(messages.Broken):
        messages.ResponseHead(data)


@pytest.mark.parametrize(
    "text", [b"-1", b"+1", b"1.0", b"0x1", b"", b"1, 1", b"9" * 19]
)
def test_no_length(text: bytes) -> None:
    """A length is a number."""
    head = messages.ResponseHead(OK + b"Content-Length: " + text + b"\r\n\r\n")
    with pytest.raises(messages.Broken, match="length"):
        head.length("GET")


@pytest.mark.parametrize(
    ("status", "method", "fields", "length"),
    [
        (200, "GET", b"Content-Length: 7\r\n", 7),
        (200, "GET", b"Content-Length: 7\r\nContent-Length: 7\r\n", 7),
        (200, "HEAD", b"Content-Length: 7\r\n", 0),
        (204, "GET", b"", 0),
        (304, "GET", b"Content-Length: 7\r\n", 0),
        (200, "GET", b"", None),
        (200, "HEAD", b"Transfer-Encoding: chunked\r\n", 0),
        (200, "GET", b"Transfer-Encoding: Chunked\r\n", None),
        (
            200,
            "GET",
            b"Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            None,
        ),
    ],
)
def test_length(
    status: int, method: str, fields: bytes, length: int | None
) -> None:
    """How long a body is, is told as RFC 9112, section 6.3 has it."""
    head = messages.ResponseHead(b"HTTP/1.1 %d X\r\n%s\r\n" % (status, fields))
    assert head.length(method) == length


@pytest.mark.parametrize(
    ("version", "fields", "keeps"),
    [
        (b"1.1", b"", True),
        (b"1.1", b"Connection: close\r\n", False),
        (b"1.1", b"Connection: x, Close\r\n", False),
        (b"1.1", b"Connection: keep-alive\r\n", True),
        (b"1.0", b"", False),
        (b"1.0", b"Connection: Keep-Alive\r\n", True),
    ],
)
def test_keeping_alive(version: bytes, fields: bytes, keeps: bool) -> None:
    """Whether there can be another request, the server says."""
    head = messages.ResponseHead(b"HTTP/%s 200\r\n%s\r\n" % (version, fields))
    assert head.keeps_alive is keeps


def test_as_the_standard_library() -> None:
    """Sound heads are read as http.client reads them."""
    chance = random.Random(7)  # noqa: S311 - the same each time
    token = string.ascii_letters + string.digits + "!#$%&'*+-.^_`|~"
    text = "".join(map(chr, range(0x21, 0x7F))) + " \t"
    for _ in range(500):
        fields = {
            "x" + "".join(chance.choices(token, k=chance.randint(1, 9))): (
                "".join(chance.choices(text, k=chance.randint(0, 30))).strip()
            )
            for _ in range(chance.randint(0, 6))
        }
        lines = [f"{name}: {value}" for name, value in fields.items()]
        data = "\r\n".join([*lines, "", ""]).encode()
        theirs = http.client.parse_headers(io.BytesIO(data))
        ours = messages.ResponseHead(OK + data).headers
        for name in fields:
            assert ours[name] == ", ".join(theirs.get_all(name) or [])
