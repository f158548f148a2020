"""The interface of a whole registry or tree."""

from __future__ import annotations

from typing import Protocol

from imageprep_client.stores import base


class Registry(base.ListsRepositories, Protocol):
    """A registry, or a tree, and the stores of its repositories.

    The files of one that is also `stores.stored_files.KeepsFiles` are
    searched; others are queried.
    """

    def store(self, repository: str) -> base.Store:
        """The store of one repository."""
        ...
