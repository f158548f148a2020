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


def ask(question: str, what: str) -> None:
    """Ask for confirmation.

    :param what: what was not done, for the error.
    :raises InvalidArgument: for any answer but yes, and without a terminal.
    """
    if not _has_terminal():
        raise errors.InvalidArgument(
            f"{what}: nobody can be asked for confirmation, as standard input"
            " is no terminal",
            hint="confirm it with --yes",
        )
    sys.stderr.write(f"{errors.printable(question)}? [y/N] ")
    sys.stderr.flush()
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise errors.InvalidArgument(f"{what}: not confirmed")


def password(user: str, of: str) -> str:
    """The password of a user; empty without a terminal to ask at."""
    if not _has_terminal():
        return ""
    return getpass.getpass(
        f"Password of {errors.printable(user)} at {errors.printable(of)}: "
    )


def _has_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()
