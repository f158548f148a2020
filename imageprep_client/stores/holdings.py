"""The files of stores on a disk of this host.

A registry answers only for content that is asked for by name. A directory can
be searched, so unreferenced and broken content is found, too.
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
    """A fault in a list, a tag or a header, not in the content.

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

        Content is not read. Missing content is reported only when nothing
        but a list or a variant of a tag names it.
        """
        ...

    def discard(self, held: Held) -> None:
        """Remove content, whole or broken; no tag may name it."""
        ...

    def tidy(self) -> None:
        """Remove a repository without content from the lists."""
        ...


@runtime_checkable
class KeepsFiles(Protocol):
    """A registry whose files can be searched."""

    def holdings(self, repository: str) -> Holdings:
        """Those of one repository."""
        ...

    def homes(self) -> Sequence[str]:
        """All repositories with any file, listed or not; sorted."""
        ...

    def defects(self) -> Iterator[Defect]:
        """What is wrong with the lists of the whole place."""
        ...

    def holder(self) -> str:
        """The writer, such as ``process 4711``; empty when there is none."""
        ...

    def check_writable(self) -> None:
        """Check, before anything is changed, that it can be written.

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
