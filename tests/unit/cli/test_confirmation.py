"""Questions at the terminal."""

from __future__ import annotations

import argparse
import getpass
import io
from unittest import mock

import pytest

from imageprep_client import errors
from imageprep_client.cli import options


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> mock.Mock:
    """The prompt for a password; it answers."""
    prompt: mock.Mock = mock.create_autospec(
        getpass.getpass, return_value="typed"
    )
    monkeypatch.setattr(getpass, "getpass", prompt)
    return prompt


def stdin(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> None:
    stream = mock.create_autospec(io.TextIOWrapper, instance=True)
    stream.isatty.return_value = terminal
    monkeypatch.setattr("sys.stdin", stream)


def parsed(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    options.add_login_options(parser, "source-")
    return parser.parse_args(words)


def test_password_is_asked_for(
    asked: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without a password is asked for it at a terminal."""
    stdin(monkeypatch, terminal=True)
    found = options.credential(parsed("--source-username", "me"), "source-")
    assert found is not None
    assert (found.username, found.password) == ("me", "typed")
    asked.assert_called_once_with("Password of me at source: ")


@pytest.mark.parametrize("words", [(), ("--source-password", "x")])
def test_nothing_is_asked(
    asked: mock.Mock, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Without a user, or with a password, there is no question."""
    stdin(monkeypatch, terminal=True)
    user = ("--source-username", "me") if words else ()
    options.credential(parsed(*user, *words), "source-")
    asked.assert_not_called()


def test_nobody_to_ask(
    asked: mock.Mock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal the missing option is named."""
    stdin(monkeypatch, terminal=False)
    with pytest.raises(errors.InvalidArgument, match="password-file"):
        options.credential(parsed("--source-username", "me"), "source-")
    asked.assert_not_called()
