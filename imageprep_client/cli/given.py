"""Values of the command line, and checks, above all for empty ones.

An unset variable, as in ``--plan "$PLAN"``, results in an empty value. It must
not be treated like a missing option: a run would not write the plan, and prune
would delete from another registry.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from imageprep_client import errors

#: Where the namespace of the parser has the names of what is empty.
_EMPTY = "empty_values"
#: Options that are empty by default with tripleoclient: scripts that were
#: made for it may give them so.
_MAY_BE_EMPTY = frozenset(
    {
        "--append-tag",
        "--password",
        "--source-password",
        "--source-username",
        "--tag",
        "--username",
    }
)
#: Names of arguments that are, or begin with, paths of this host.
_PATHS = frozenset(
    {
        "<destination>",
        "<directory>",
        "<file>",
        "<file>[,architecture=<architecture>]",
        "<inventory>",
        "<place>",
        "<report>",
        "<source>",
        "lxc|machines|<directory>",
    }
)
_UNKNOWN = re.compile(r"unrecognized arguments: (--[\w-]+)")
#: argparse takes a word with a hyphen for an option.
_NO_VALUE = re.compile(r"argument (?:\S+/)?(--[\w-]+): expected one argument")


def watch(parser: argparse.ArgumentParser) -> None:
    """Look at the values of arguments that are added afterwards.

    Empty values are recorded. A leading ``~`` of a path is the home, since
    shells leave it as it is in ``--option=~/file``.

    The default of a positional that can be left out must not be empty, since
    argparse does not tell it from a value.
    """
    parser.register("action", None, _Store)
    parser.register("action", "append", _Append)


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """Report a mistake in the command line, and exit with status 2."""
    hint = f"{parser.prog} --help lists the options"
    unknown = _UNKNOWN.match(message)
    known = [
        name
        for name in parser._option_string_actions
        if len(name) > 2 and name != "--help"
    ]
    if unknown and (meant := errors.did_you_mean(unknown[1], known)):
        hint = f"{meant} {hint}"
    if bare := _NO_VALUE.match(message):
        hint = (
            f"write {bare[1]}=-... for a value that begins with a hyphen;"
            f" {hint}"
        )
    told = errors.printable(f"{parser.prog}: {message}")
    parser.exit(2, f"{told}\nhint: {hint}\n")


def check(parsed_args: argparse.Namespace) -> None:
    """Check that no value is empty.

    :raises InvalidArgument: for the first that is.
    """
    for name in getattr(parsed_args, _EMPTY, ()):
        raise empty(name)


def check_columns(
    parsed_args: argparse.Namespace, columns: Sequence[str]
) -> None:
    """Check that the columns to show exist.

    :param columns: all that there are; empty when that is not known.
    :raises InvalidArgument: for the first that does not exist.
    """
    known = {_normal(column) for column in columns}
    for option, key in (
        ("column", "columns"),
        ("sort-column", "sort_columns"),
    ):
        for name in getattr(parsed_args, key, None) or ():
            if known and _normal(name) not in known:
                raise errors.InvalidArgument(
                    f"--{option} {name}: no such column",
                    hint=f"one of {', '.join(columns)}",
                )


def _normal(column: str) -> str:
    """A name of a column as cliff compares it."""
    return column.lower().strip().replace(" ", "_")


def empty(name: str) -> errors.InvalidArgument:
    """The error for an option, or a positional, without a value."""
    return errors.InvalidArgument(
        f"{name}: its value is empty",
        hint="give a value, or leave it out; if it is a variable of the"
        " shell, that may be unset",
    )


def _at_home(paths: Any) -> Any:
    """The path, or the list of paths, with the home in place of ``~``."""
    if isinstance(paths, list):
        return [_at_home(path) for path in paths]
    return os.path.expanduser(paths) if isinstance(paths, str) else paths


class _Store(argparse.Action):
    """Stores a value."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        name = option_string or str(self.metavar)
        if values == "" and not _MAY_BE_EMPTY.intersection(
            self.option_strings
        ):
            before = getattr(namespace, _EMPTY, ())
            setattr(namespace, _EMPTY, (*before, name))
        if self.metavar in _PATHS:
            values = _at_home(values)
        setattr(namespace, self.dest, self.stored(namespace, values))

    def stored(self, namespace: argparse.Namespace, value: Any) -> Any:
        """The part of a value that is kept."""
        return value


class _Append(_Store):
    """Appends it to those before; without the option there are none."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "default": []})

    def stored(self, namespace: argparse.Namespace, value: Any) -> Any:
        return [*getattr(namespace, self.dest), value]
