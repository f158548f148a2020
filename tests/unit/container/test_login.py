"""A user and a password from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.container import login

SECRET = "canary-41"


def write(tmp_path: Path, content: bytes) -> str:
    path = tmp_path / "password"
    path.write_bytes(content)
    return str(path)


def test_nothing() -> None:
    """No option, no login."""
    assert login.parse("", "", "") is None


def test_password() -> None:
    """Both are taken as they are."""
    found = login.parse("me", SECRET, "")
    assert found
    assert (found.username, found.password) == ("me", SECRET)


def test_repr() -> None:
    """The password is in no message by accident."""
    assert SECRET not in repr(login.parse("me", SECRET, ""))


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_file(tmp_path: Path, end: bytes) -> None:
    """The line end of a file is no part of the password."""
    found = login.parse("me", "", write(tmp_path, SECRET.encode() + end))
    assert found
    assert found.password == SECRET


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"canary-41\nother\n", "more than one line"),
        (b"canary-41" * 10000, "is larger than"),
        (b"canary-41\xff", "is not UTF-8"),
    ],
)
def test_bad_file(tmp_path: Path, content: bytes, problem: str) -> None:
    """A malformed password file is refused without quoting it."""
    with pytest.raises(errors.InvalidFile, match=problem) as caught:
        login.parse("me", "", write(tmp_path, content))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("/none/such", "no such file"),
        ("/", "is a directory"),
        ("a\0b", "no file name"),
    ],
)
def test_file_that_cannot_be_read(path: str, problem: str) -> None:
    """The file is named."""
    with pytest.raises(errors.InvalidFile, match=problem):
        login.parse("me", "", path)


@pytest.mark.parametrize(
    ("username", "password", "file", "message"),
    [
        ("", "x", "", "--source-username is missing"),
        ("me", "", "", "--source-password-file is missing"),
        ("me", "x", "f", "exclude each other"),
        ("a:b", "x", "", "no colon"),
    ],
)
def test_half_a_login(
    username: str, password: str, file: str, message: str
) -> None:
    """A user and one password; the message names the option."""
    with pytest.raises(errors.InvalidArgument, match=message):
        login.parse(username, password, file, "source-")
