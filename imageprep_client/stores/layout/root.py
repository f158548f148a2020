"""A directory of image layouts."""

from __future__ import annotations

import os

from imageprep_client.host import disk
from imageprep_client.stores.layout.directory import Layouts
from imageprep_client.stores.layout.store import LayoutStore


class LayoutRoot:
    """The directory, and the stores of the repositories in it.

    Making one touches nothing. Threads, and processes, may share it.

    :ivar path: the directory.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._layouts = Layouts(path)
        self.path = self._layouts.tree.path
        self.registry = self._layouts.registry

    def __str__(self) -> str:
        return self.registry

    def store(self, repository: str) -> LayoutStore:
        """The store of one repository, made when it is first written.

        :raises InvalidReference: when the name breaks the grammar, or is
            that of a file that layouts have.
        """
        return LayoutStore(self._layouts, repository)

    def repositories(self) -> list[str]:
        """The names of all layouts below, sorted."""
        return self._layouts.names()

    def check_writable(self) -> None:
        """Find out before anything is done whether it can be written.

        :raises InvalidArgument: when it is no directory or cannot be one.
        :raises AccessDenied: when this user may not write there.
        """
        self._layouts.prepare()
        tree = self._layouts.tree
        with disk.reported(self.path), tree.staged() as probe:
            tree.create(probe).close()

    def prepare(self) -> None:
        """Make the directory when only its last part is missing."""
        self._layouts.prepare()

    def close(self) -> None:
        """Keep nothing of the layouts open; they can be used again."""
        self._layouts.tree.close()

    def flush(self) -> None:
        """Return when all that was written is on stable storage."""
        self._layouts.flush()

    def free_space(self) -> int:
        """Bytes that can still be written."""
        return self._layouts.free_space()
