"""Passwords in the URLs of git servers."""

from __future__ import annotations

import pytest

from imageprep_client.modify import giturl


@pytest.mark.parametrize(
    ("url", "public", "told"),
    [
        ("https://u:p@h.io/r", "https://h.io/r", "u\np"),
        ("http://u:p@h.io:8080", "http://h.io:8080", "u\np"),
        ("HTTPS://u:p@[::1]:80/r", "HTTPS://[::1]:80/r", "u\np"),
        ("https://token:x-oauth@h.io", "https://h.io", "token\nx-oauth"),
        ("https://token:@h.io", "https://h.io", "token\n"),
        ("https://:p@h.io", "https://h.io", "\np"),
        ("https://a%40b:p%3A%2f+%25@h.io", "https://h.io", "a@b\np:/+%"),
        ("https://u:p@q:r@h.io/r", "https://h.io/r", "u\np@q:r"),
        ("ssh://u:p@h.io:29418/r", "ssh://u@h.io:29418/r", "\n"),
    ],
)
def test_password(url: str, public: str, told: str) -> None:
    """It is taken out of the URL, and decoded; who asks by ssh stays."""
    assert giturl.public(url) == public
    assert giturl.credentials(url) == told


@pytest.mark.parametrize(
    "url",
    [
        "https://review.opendev.org",
        "https://u@h.io:8080/r",
        "https://h.io:8080/a@b:c@d",
        "https://h.io?a:b@c",
        "file:///home/u:p@h",
        "/home/u:p@h",
        "",
    ],
)
def test_no_password(url: str) -> None:
    """A URL without a password is used as it is."""
    assert giturl.public(url) == url
    assert giturl.credentials(url) == "\n"
