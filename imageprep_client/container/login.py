"""The user and password of a registry on the command line."""

from __future__ import annotations

from imageprep_client import errors
from imageprep_client.heat.parameters import Credential
from imageprep_client.host import inputs

#: A password file is one line; what is longer is another file.
_MAX_SIZE = 64 * 1024


def parse(
    username: str, password: str, password_file: str, prefix: str = ""
) -> Credential | None:
    """The credential of three options; None when none was given.

    :param password_file: read once, one line; its line end is no part of
        the password.
    :param prefix: of the options' names, such as ``source-``.
    :raises InvalidArgument: when only one of user and password was given.
    :raises InvalidFile: when the file cannot be used.
    """
    if password and password_file:
        raise errors.InvalidArgument(
            f"--{prefix}password and --{prefix}password-file exclude each"
            " other"
        )
    if password_file:
        password = _read(password_file)
    if not username and not password:
        return None
    if not username:
        raise errors.InvalidArgument(
            f"a password without a user: --{prefix}username is missing"
        )
    if not password:
        raise errors.InvalidArgument(
            f"a user without a password: --{prefix}password-file is missing"
        )
    if ":" in username:
        raise errors.InvalidArgument(
            f"--{prefix}username: a user name has no colon in it"
        )
    return Credential(username=username, password=password)


def _read(path: str) -> str:
    try:
        text = inputs.load(path, _MAX_SIZE).decode()
    except UnicodeDecodeError:
        # The error has what was read.
        raise errors.InvalidFile(path, "is not UTF-8") from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password:
        raise errors.InvalidFile(path, "is empty, expected a password")
    if "\n" in password:
        raise errors.InvalidFile(
            path, "has more than one line, expected a password"
        )
    return password
