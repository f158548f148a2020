"""The files of stores on a disk of this host.

A registry returns only content that is requested by name. A directory can be
searched, so unreferenced and corrupt content can be found as well.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from imageprep_client.stores import base


@dataclasses.dataclass(frozen=True, slots=True)
class StoredFile:
    """A file with content: a blob or a manifest.

    :ivar size: its actual size in bytes, which may be wrong.
    :ivar storage: equal for files that share their bytes.
    :ivar links: the number of files that share them, in all repositories.
    """

    digest: str
    size: int
    is_manifest: bool
    path: str
    storage: Hashable
    links: int


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Defect:
    """A fault in a list, a tag or a header, not in the content.

    :ivar name: a digest, a tag, or a file below the repository.
    :ivar problem: a few words, such as ``listed but absent``.
    """

    name: str
    problem: str


class StoredFiles(Protocol):
    """The files of one repository, tagged or not."""

    def contents(self) -> Iterator[StoredFile]:
        """All blobs and manifests, complete or not, in any order."""
        ...

    def open(self, stored: StoredFile) -> base.Content:
        """Open a file; its bytes are not verified.

        :raises NotFound: when it no longer exists.
        """
        ...

    def defects(self) -> Iterator[Defect]:
        """The faults in lists, tags and headers.

        Content is not read. Missing content is reported only when nothing
        but a list or a variant of a tag names it.
        """
        ...

    def discard(self, stored: StoredFile) -> None:
        """Remove content that no tag names, complete or not."""
        ...

    def tidy(self) -> None:
        """Remove a repository without content from the lists."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A registry whose files can be searched."""

    def stored_files(self, repository: str) -> StoredFiles:
        """The files of one repository."""
        ...

    def repositories_on_disk(self) -> Sequence[str]:
        """All repositories with any file, listed or not; sorted."""
        ...

    def defects(self) -> Iterator[Defect]:
        """The faults in the lists of the whole registry."""
        ...

    def lock_owner(self) -> str:
        """The writer, such as ``process 4711``; empty when there is none."""
        ...

    def check_writable(self) -> None:
        """Check that it can be written, before anything is changed.

        :raises AccessDenied: when this user may not.
        """
        ...

    def lock(
        self, waiting: Callable[[str], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Exclude other runs for the duration of the block.

        :param waiting: called when another run has the lock; an exception
            that it raises ends the attempt.
        """
        ...

    def flush(self) -> None:
        """Return when everything done so far is on stable storage."""
        ...
