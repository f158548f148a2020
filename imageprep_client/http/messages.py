"""The heads of HTTP requests and responses (RFC 9112)."""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Iterable, Iterator, Mapping
from typing import TypeVar, overload

from imageprep_client import errors
from imageprep_client.http import urls

_T = TypeVar("_T")

_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?\r\n")
# It never backtracks: a head could otherwise take very long to parse.
_FIELDS = re.compile(rb"(?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[^\r\n\0]*+\r\n)*+")
# A longer number is no length, and slow to convert.
LENGTH = re.compile(r"[0-9]{1,18}")
# Scheme and authority, and the request target; a fragment is not sent.
_URL = re.compile(r"[^:/?#]+://[^/?#]*([^#]*)")
_UNSENDABLE = re.compile(r"[^!#-;=?-Z\[\]_a-z~]")
_SENDABLE = "!#$%&'()*+,/:;=?@[]~"
#: Methods whose requests have a Content-Length even without a body.
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})


class Broken(ConnectionError):
    """The response is malformed or incomplete."""


def request_head(
    method: str, url: str, headers: Mapping[str, str], length: int | None
) -> bytes:
    """The bytes of the head of a request.

    :param length: bytes of the body; None without a body.
    :raises ServerFault: if a header contains a line end. Registries determine
        the values of some headers.
    """
    lines = [
        f"{method} {_target(url)} HTTP/1.1",
        f"Host: {urls.authority(url)}",
    ]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if length is not None or method in _WITH_BODY:
        lines.append(f"Content-Length: {length or 0}")
    text = "\r\n".join(lines) + "\r\n\r\n"
    ends = len(lines) + 1
    if not text.count("\r") == text.count("\n") == ends:
        raise errors.ServerFault(
            f"{urls.shown(url)}: a header with a line end in it",
            temporary=False,
        )
    return text.encode("latin-1")


def _target(url: str) -> str:
    """The request target; invalid characters are encoded."""
    match = _URL.match(url)
    target = (match and match[1]) or "/"
    if not target.startswith("/"):
        target = f"/{target}"
    if _UNSENDABLE.search(target):
        target = urllib.parse.quote(target, safe=_SENDABLE)
    return target


class Headers(Mapping[str, str]):
    """The fields of a head; their names are case-insensitive."""

    def __init__(self, lines: Iterable[str]) -> None:
        fields = self._fields = dict[str, str]()
        for line in lines:
            name, _, value = line.partition(":")
            key, value = name.lower(), value.strip(" \t")
            if key not in fields:
                fields[key] = value
            # Proxies repeat what the server behind them sends as well.
            elif fields[key] != value or key == "transfer-encoding":
                if key == "content-length":
                    raise Broken("a response with two lengths")
                fields[key] = f"{fields[key]}, {value}"

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...

    @overload
    def get(self, name: str, /, default: str | _T) -> str | _T: ...

    def get(self, name: str, /, default: object = None) -> object:
        """The value, or `default`; faster than that of Mapping."""
        return self._fields.get(name.lower(), default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


class ResponseHead:
    """The head of a response.

    Ambiguous heads are refused.

    :param data: the head with the empty line at its end.
    :ivar keeps_alive: whether the server accepts another request.
    :raises Broken: if it is malformed.
    """

    def __init__(self, data: bytes) -> None:
        status = _STATUS.match(data)
        if not status:
            raise Broken("not an HTTP response")
        self.status = int(status[2])
        self.headers = Headers(_lines(data, status.end()))
        given = self.headers.get("connection", "").lower()
        options = {option.strip() for option in given.split(",")}
        self.keeps_alive = "close" not in options and (
            status[1] == b"1" or "keep-alive" in options
        )
        coding = self.headers.get("transfer-encoding")
        if coding is not None and coding.lower() != "chunked":
            raise Broken("a response in an unknown transfer coding")
        self.is_chunked = coding is not None

    def length(self, method: str) -> int | None:
        """The length of the body of a response to this method (section 6.3).

        None if the body has no declared length.
        """
        if method == "HEAD" or self.status in (204, 304):
            return 0
        text = self.headers.get("content-length")
        if self.is_chunked or text is None:
            return None
        if not LENGTH.fullmatch(text):
            raise Broken("a response with an invalid length")
        return int(text)


def _lines(data: bytes, position: int) -> list[str]:
    end = len(data) - 2
    if position < end and not _FIELDS.fullmatch(data, position, end):
        raise Broken("a response with a malformed head")
    return data[position:end].decode("latin-1").split("\r\n")[:-1]
