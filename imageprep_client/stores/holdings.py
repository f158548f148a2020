"""What a place on a disk of this host can tell about its own files.

Registries answer only for what is asked for by name; a directory can be
looked through, with what nothing names any more and what got broken.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Protocol, runtime_checkable

from imageprep_client.stores import base


@dataclasses.dataclass(frozen=True, slots=True)
class Held:
    """One file with content: a blob, or a manifest.

    :ivar size: bytes that it has, which need not be those it should have.
    :ivar path: of the file.
    :ivar storage: equal where several files share their bytes.
    :ivar links: how many files share them, other repositories' included.
    """

    digest: str
    size: int
    is_manifest: bool
    path: str
    storage: Hashable
    links: int


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class Defect:
    """Something that is wrong with what surrounds the content.

    :ivar name: a digest, a tag, or a file below the repository.
    :ivar problem: in a few words, such as ``listed but absent``.
    """

    name: str
    problem: str


class Holdings(Protocol):
    """The files of one repository, named by a tag or not."""

    def contents(self) -> Iterator[Held]:
        """All blobs and manifests, whole or broken, in any order."""
        ...

    def open(self, held: Held) -> base.Content:
        """The bytes as they are, not verified.

        :raises NotFound: when they are gone.
        """
        ...

    def defects(self) -> Iterator[Defect]:
        """What is wrong with lists, tags and headers.

        Content itself is not read, and content that is missing is told
        only where nothing but a list or a tag's variant names it.
        """
        ...

    def discard(self, held: Held) -> None:
        """Remove content, whole or broken; no tag may name it."""
        ...

    def tidy(self) -> None:
        """Take a repository that holds nothing any more off the lists."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A place that can look through its files."""

    def holdings(self, repository: str) -> Holdings:
        """Those of one repository."""
        ...

    def homes(self) -> Sequence[str]:
        """All repositories with any file, in no catalog or not; sorted."""
        ...

    def defects(self) -> Iterator[Defect]:
        """What is wrong with the lists of the whole place."""
        ...

    def holder(self) -> str:
        """Who writes now, such as ``process 4711``; empty for nobody."""
        ...

    def check_writable(self) -> None:
        """Find out before anything is done whether it can be written.

        :raises AccessDenied: when this user may not.
        """
        ...

    def lock(
        self, waiting: Callable[[str], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Keep other runs out for the duration of the block.

        :param waiting: called when another run has the lock; what it raises
            ends the attempt.
        """
        ...

    def flush(self) -> None:
        """Return when all that was done before is on stable storage."""
        ...
