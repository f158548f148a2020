"""Questions at the terminal: confirmations and passwords."""

from __future__ import annotations

import argparse
import getpass
import sys

from imageprep_client import errors


def add_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that skips the confirmation."""
    parser.add_argument(
        "-y", "--yes", action="store_true", help="Do not ask for confirmation"
    )


def check_terminal(what: str) -> None:
    """Check that there is a terminal to ask at.

    :param what: what was not done, for the error.
    :raises InvalidArgument: when stdin is no terminal.
    """
    if sys.stdin is None or not sys.stdin.isatty():
        raise errors.InvalidArgument(
            f"{what}: nobody can be asked for confirmation, as standard input"
            " is no terminal",
            hint="confirm it with --yes",
        )


def ask(question: str, what: str) -> None:
    """Ask for confirmation.

    :param what: what was not done, for the error.
    :raises InvalidArgument: for any answer but yes, and without a terminal.
    """
    check_terminal(what)
    sys.stderr.write(f"{errors.printable(question)}? [y/N] ")
    sys.stderr.flush()
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise errors.InvalidArgument(f"{what}: not confirmed")


def password(user: str, of: str) -> str:
    """The password of a user; empty without a terminal to ask at."""
    if sys.stdin is None or not sys.stdin.isatty():
        return ""
    return getpass.getpass(
        f"Password of {errors.printable(user)} at {errors.printable(of)}: "
    )
