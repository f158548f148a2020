"""A directory of image layouts."""

from __future__ import annotations

from imageprep_client import errors
from imageprep_client.host import disk
from imageprep_client.oci.layout import INDEX
from imageprep_client.stores.layout.directory import Layouts
from imageprep_client.stores.layout.store import LayoutStore


class LayoutRoot(Layouts):
    """The directory, and the stores of the repositories in it.

    Making one touches nothing. Threads, and processes, may share it.
    """

    def __str__(self) -> str:
        return self.registry

    def store(self, repository: str) -> LayoutStore:
        """The store of one repository, made when it is first written.

        :raises InvalidReference: when the name breaks the grammar, or is
            that of a file that layouts have.
        """
        return LayoutStore(self, repository)

    def check_readable(self) -> None:
        """Find out whether there is any layout to read.

        :raises InvalidArgument: when there is none below the directory, as
            when the directory itself is one.
        """
        if self.repositories():
            return
        if self.tree.regular_size(INDEX) is None:
            raise errors.InvalidArgument(
                f"{self.path}: no image layouts in this directory"
            )
        above, name = self.path.parent, self.path.name
        raise errors.InvalidArgument(
            f"{self.path}: an image layout itself, not a directory of them",
            hint=f"name its images oci:{above}//{name}:TAG, or @DIGEST those"
            " that have no tag",
        )

    def check_writable(self) -> None:
        """Find out before anything is done whether it can be written.

        :raises InvalidArgument: when it is no directory or cannot be one.
        :raises AccessDenied: when this user may not write there.
        """
        self.prepare()
        with disk.reported(self.path), self.tree.staged() as probe:
            self.tree.create(probe).close()

    def close(self) -> None:
        """Keep nothing of the layouts open; they can be used again."""
        self.tree.close()
