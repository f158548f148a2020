"""Addresses to listen on."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.serving.address import DEFAULT_LISTEN, Address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8787", Address("127.0.0.1", 8787)),
        ("[::1]:8787", Address("::1", 8787)),
        ("undercloud.ctlplane:80", Address("undercloud.ctlplane", 80)),
        ("*:0", Address("*", 0)),
    ],
)
def test_parse(text: str, address: Address) -> None:
    """Names and addresses of both families, and all of them."""
    assert Address.parse(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "8787",
        ":8787",
        "localhost",
        "localhost:",
        "localhost:65536",
        "localhost:http",
        "::1:8787",
        "[localhost]:8787",
        "[::g]:8787",
        "-host:80",
        'a"b:80',
        "a b:80",
        "host:80\n",
        "host\n:80",
    ],
)
def test_refuses(text: str) -> None:
    """Anything else is refused, with an example."""
    with pytest.raises(errors.InvalidArgument, match="such as"):
        Address.parse(text)


def test_default() -> None:
    """By default only this host can connect."""
    assert Address.parse(DEFAULT_LISTEN).host == "127.0.0.1"
