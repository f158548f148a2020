"""Workspaces: where images are changed, as protocols."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.observer import Observer
from imageprep_client.stores import base


class Workspace(Protocol):
    """Local storage of one run; empty at first, removed at the end.

    Images have the names of local storage, ``registry/repository:tag``.
    """

    def landing(self, name: str) -> tuple[base.Store, str]:
        """The store and the tag to copy the image of this name to."""
        ...

    def bring_in(self, name: str) -> None:
        """Import the image from its `landing` into local storage.

        :raises StoreError: when that fails.
        """
        ...

    def modify(
        self,
        changes: Sequence[ImageChange],
        *,
        concurrency: int,
        keep_going: bool,
        observer: Observer,
    ) -> Sequence[Changed]:
        """Make all changes; return a result for each, in their order.

        No process that was started is left when this returns or raises.

        :param concurrency: the maximum number of images at once.
        :param keep_going: whether to continue after a failed image.
        :raises ModifyError: when no image could be changed.
        """
        ...

    def names(self) -> Collection[str]:
        """The names of all images in the workspace."""
        ...

    def store(
        self, name: str, going_to: base.ReadableStore
    ) -> base.ReadableStore:
        """A store of the images with this name, which has no tag."""
        ...

    def keep(self, name: str) -> None:
        """Keep an image in the local storage of this host."""
        ...


class Workspaces(Protocol):
    """Opens workspaces."""

    def check(
        self, ansible_role: str, variables: Mapping[str, object]
    ) -> None:
        """Check that a role can change images with these variables.

        :raises InvalidArgument: when ansible, the role or its tasks are
            missing.
        :raises InvalidVariable: when the role cannot use a variable.
        """
        ...

    def open(self) -> contextlib.AbstractContextManager[Workspace]:
        """Make a workspace; remove it with its content at the end."""
        ...
