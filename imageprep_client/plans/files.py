"""The files of a plan: the only part in which kinds of plans differ."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from imageprep_client import errors
from imageprep_client.heat import document

#: Bytes that are read of the files of a plan at a time.
MAX_TOTAL = 4 * document.MAX_SIZE
#: Folder in which the predecessor caches results of plans.
CACHE = "__cache__"


@dataclasses.dataclass(frozen=True, slots=True)
class PlanFile:
    """A file at one moment.

    :ivar content: its bytes; of a larger file the first
        `heat.document.MAX_SIZE` and one.
    :ivar version: differs when the content does.
    """

    content: bytes = dataclasses.field(repr=False)
    version: str


class PlanFiles(Protocol):
    """The files of one plan.

    Paths are relative to the plan, normal (as of `posixpath.normpath`), and
    with slashes. Implementations do not check that there is a plan
    environment.

    :ivar name: the name of the plan in errors.
    """

    @property
    def name(self) -> str: ...

    def read(self, path: str) -> PlanFile | None:
        """Read a file; None when there is none.

        :raises PlanError: when it is not a file, is outside of the plan or
            cannot be read. The plan itself may be absent.
        """
        ...

    def read_many(self, paths: Iterable[str]) -> Mapping[str, PlanFile | None]:
        """Read several files, each once, perhaps concurrently.

        :raises PlanError: as `read`.
        """
        ...

    def write(
        self, path: str, content: bytes, *, replaces: PlanFile | None
    ) -> None:
        """Replace or create a file; a reader sees the old or the new one.

        Missing folders are created. Nothing has changed when this raises,
        unless the connection broke: then it is unknown.

        :param replaces: the present file as it was read; None when there
            must be none.
        :raises PlanConflict: when the present file is another one, compared
            as late as the store allows.
        :raises PlanError, NoSpace: when it cannot be written.
        """
        ...

    def delete(self, path: str) -> None:
        """Delete a file; it may be absent.

        :raises PlanError: when it cannot be deleted.
        """
        ...

    def names(self, folder: str) -> Sequence[str]:
        """List the files directly in a folder, in any order.

        An absent folder has no files.

        :raises PlanError: when it cannot be listed.
        """
        ...

    def check_writable(self, paths: Iterable[str]) -> None:
        """Check that `write` can write these; nothing is left behind.

        :raises PlanError, NoSpace: when it could not, as far as can be known.
        """
        ...

    def locked(
        self, *, exclusive: bool
    ) -> contextlib.AbstractContextManager[None]:
        """Exclude writers, or with `exclusive` readers as well.

        The lock is advisory. A store without locks does nothing here, and
        `write` detects conflicts.

        :raises PlanError: when there is no such plan.
        """
        ...

    def forget_cached(self) -> Sequence[errors.PlanError]:
        """Delete the parameters of this plan from the predecessor's cache.

        The path is `cached` of the name of the plan.

        :returns: the errors of the places where it could not be deleted.
        """
        ...


def cached(plan: str) -> str:
    """The path at which the predecessor caches the parameters of a plan."""
    return f"{CACHE}/{CACHE.rstrip('_')}_{plan}_tripleo.parameters.get"


def is_cached(path: str) -> bool:
    """Whether this is `cached` of any plan."""
    begin, end = cached("\0").split("\0")
    return path.startswith(begin) and path.endswith(end)


class Total:
    """Bounds what is read of the files of a plan together."""

    def __init__(self, files: PlanFiles) -> None:
        self._files = files
        self._left = MAX_TOTAL

    def add(self, path: str, stored: PlanFile | None) -> PlanFile | None:
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
) -> dict[str, PlanFile | None]:
    """Implement `PlanFiles.read_many` for files that are read fast."""
    total = Total(files)
    return {
        path: total.add(path, files.read(path))
        for path in dict.fromkeys(paths)
    }


def failures(steps: Iterable[Callable[[], None]]) -> list[errors.PlanError]:
    """Run all steps and collect the errors of those that fail."""
    failed = []
    for step in steps:
        try:
            step()
        except errors.PlanError as failure:
            failed.append(failure)
    return failed


def error(
    files: PlanFiles, path: str, problem: str, hint: str | None = None
) -> errors.PlanError:
    """The error to raise for a file of the plan."""
    return errors.PlanError(f"plan {files.name}: {path}: {problem}", hint=hint)


def conflict(files: PlanFiles, path: str) -> errors.PlanConflict:
    """The error to raise when another writer changed a file."""
    return errors.PlanConflict(
        f"plan {files.name}: {path}: somebody else changes it",
        hint="try again when nobody else writes to the plan",
    )
