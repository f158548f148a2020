"""How the files of a plan are kept: the one thing in which plans differ."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from imageprep_client import errors
from imageprep_client.heat import document

#: Bytes that are read of the files of a plan at a time.
MAX_TOTAL = 4 * document.MAX_SIZE
#: Where the predecessor keeps what it has worked out of plans.
CACHE = "__cache__"


@dataclasses.dataclass(frozen=True, slots=True)
class Stored:
    """A file as it was at some moment.

    :ivar content: its bytes; of a larger file the first
        `heat.document.MAX_SIZE` and one.
    :ivar version: differs when the content does.
    """

    content: bytes = dataclasses.field(repr=False)
    version: str


class PlanFiles(Protocol):
    """The files of one plan.

    Paths are relative to the plan, normal (as of `posixpath.normpath`), and
    with slashes. An implementation need not be a plan: that a plan has a
    plan environment is looked at elsewhere.

    :ivar name: what errors call the plan.
    """

    @property
    def name(self) -> str: ...

    def read(self, path: str) -> Stored | None:
        """A file; None when there is none.

        :raises PlanError: when it is no file, leads out of the plan or
            cannot be read; the plan itself may be absent.
        """
        ...

    def read_many(self, paths: Iterable[str]) -> Mapping[str, Stored | None]:
        """Several files, each of them fetched once, perhaps at once.

        :raises PlanError: as `read`.
        """
        ...

    def write(
        self, path: str, content: bytes, *, replaces: Stored | None
    ) -> None:
        """Let the file hold this; a reader sees the old or the new one.

        Folders come into being. What raises has changed nothing, except
        that of a broken connection it is not known.

        :param replaces: what is there, as it was read; None when the file
            must be a new one.
        :raises PlanConflict: when something else is there, as late as the
            store can tell.
        :raises PlanError, InvalidFile, NoSpace: when it cannot be written.
        """
        ...

    def delete(self, path: str) -> None:
        """Let there be no such file; it may be absent.

        :raises PlanError: when it cannot be deleted.
        """
        ...

    def names(self, folder: str) -> Sequence[str]:
        """The paths of the files directly in a folder, in any order.

        A folder that is absent is empty.

        :raises PlanError: when it cannot be listed.
        """
        ...

    def check_writable(self, paths: Iterable[str]) -> None:
        """Find out whether `write` could write these; nothing is written.

        :raises PlanError, InvalidFile, NoSpace: when it could not, as far as
            that can be known.
        """
        ...

    def locked(
        self, *, exclusive: bool
    ) -> contextlib.AbstractContextManager[None]:
        """Keep writers, or with `exclusive` everybody else, waiting.

        Only those wait who ask for it, too. A store that cannot do it does
        nothing: `write` finds out.

        :raises PlanError: when there is no such plan.
        """
        ...

    def forget_cached(self) -> Sequence[errors.PlanError]:
        """Delete the parameters of this plan that others keep in a cache.

        That is `cached` of the plan's name, if it is there.

        :returns: why it cannot be deleted, for each place that it may be in.
        """
        ...


def cached(plan: str) -> str:
    """Where the predecessor keeps the parameters of a plan."""
    return f"{CACHE}/{CACHE.rstrip('_')}_{plan}_tripleo.parameters.get"


def is_cached(path: str) -> bool:
    """Whether `cached` gives this for any plan."""
    begin, end = cached("\0").split("\0")
    return path.startswith(begin) and path.endswith(end)


class Total:
    """Bounds what is read of the files of a plan together."""

    def __init__(self, files: PlanFiles) -> None:
        self._files = files
        self._left = MAX_TOTAL

    def add(self, path: str, stored: Stored | None) -> Stored | None:
        """The file itself, when it is within the bound.

        :raises PlanError: when all files together are too large.
        """
        self._left -= len(stored.content) if stored else 0
        if self._left < 0:
            raise error(
                self._files,
                path,
                "the files of the plan are larger than"
                f" {MAX_TOTAL} bytes together",
            )
        return stored


def one_by_one(
    files: PlanFiles, paths: Iterable[str]
) -> dict[str, Stored | None]:
    """What `PlanFiles.read_many` gives, where reading takes no time."""
    total = Total(files)
    return {
        path: total.add(path, files.read(path))
        for path in dict.fromkeys(paths)
    }


def failures(steps: Iterable[Callable[[], None]]) -> list[errors.PlanError]:
    """Take all the steps; the errors of those that fail."""
    found = []
    for step in steps:
        try:
            step()
        except errors.PlanError as failure:
            found.append(failure)
    return found


def error(
    files: PlanFiles, path: str, problem: str, hint: str | None = None
) -> errors.PlanError:
    """What to raise for a file of the plan."""
    return errors.PlanError(f"plan {files.name}: {path}: {problem}", hint=hint)


def conflict(files: PlanFiles, path: str) -> errors.PlanConflict:
    """What to raise when a file is not the one that is to be replaced."""
    return errors.PlanConflict(
        f"plan {files.name}: {path}: somebody else changes it",
        hint="try again when nobody else writes to the plan",
    )
