"""Paths of results: each of its own, and none over a file that was read."""

from __future__ import annotations

import os
from collections.abc import Iterable

from imageprep_client import errors


def check_different(paths: Iterable[str]) -> None:
    """Check that no two results are one file.

    :raises InvalidArgument: for the first that another one has taken.
    """
    taken: set[str] = set()
    for path in paths:
        target = os.path.realpath(path)
        if target in taken:
            raise errors.InvalidArgument(
                f"{path}: two results cannot be one file",
                hint="name different files",
            )
        taken.add(target)


def check_apart(path: str, others: Iterable[str]) -> None:
    """Check that a result is none of the files that are read.

    :raises InvalidArgument: when it is one.
    """
    target = os.path.realpath(path)
    if any(target == os.path.realpath(other) for other in others):
        raise errors.InvalidArgument(
            f"{path}: it was read for this run, and would be replaced",
            hint="name another file for the result",
        )


def check_outside(path: str, directory: str) -> None:
    """Check that a result is not in a directory.

    :raises InvalidArgument: when it is.
    """
    real = os.path.realpath(directory)
    if os.path.realpath(path).startswith(f"{real}{os.sep}"):
        raise errors.InvalidArgument(
            f"{path}: it is in {directory}, which is no place for results",
            hint="name a file outside of it",
        )
