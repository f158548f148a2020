"""Private local storage in which images are changed.

A part of the composition root, `client`, as `stores` is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Collection, Iterator, Mapping
from typing import TYPE_CHECKING

from imageprep_client.host import disk
from imageprep_client.observer import Observer
from imageprep_client.stores import base

# The others are imported where they are used: most runs change no image, and
# would wait for them.
if TYPE_CHECKING:
    from imageprep_client.modify.storage import PrivateStorage
    from imageprep_client.programs.buildah import Buildah
    from imageprep_client.stores.containers import ContainersStorage

#: The tag of a copied image in its layout.
_TAG = "image"


class LocalWorkspace:
    """Private local storage, and image layouts beside it."""

    def __init__(
        self,
        storage: PrivateStorage,
        containers: ContainersStorage,
        host: Buildah,
        observer: Observer,
    ) -> None:
        from imageprep_client.modify import ansible
        from imageprep_client.stores.diffids import DiffIdCheck
        from imageprep_client.stores.layout import LayoutRoot

        self._storage = storage
        self._host = host
        self._observer = observer
        self._containers = containers
        self._layouts = LayoutRoot(storage.directory / "layouts")
        self._diff_ids = DiffIdCheck(
            disk.free_space(storage.directory), str(storage.directory)
        )
        self.modify = functools.partial(ansible.modify, storage)

    def landing(self, name: str) -> tuple[base.Store, str]:
        return self._layouts.store(_path(name)), _TAG

    def bring_in(self, name: str) -> None:
        layout = self._layouts.store(_path(name))
        layers = self._diff_ids.check_stored(layout, _TAG, name)
        self._storage.buildah.pull(str(layout.home), _TAG, name)
        self._containers.know(layers, layout)

    def names(self) -> Collection[str]:
        images = self._storage.buildah.images()
        return {name for image in images for name in image.names}

    def store(
        self, name: str, going_to: base.ReadableStore
    ) -> base.ReadableStore:
        from imageprep_client.stores.containers import ContainersStore

        return ContainersStore(self._containers, name, going_to)

    def keep(self, name: str) -> None:
        present = self._host.image(name)
        own = self._storage.buildah.image(name)
        if present and own and present.id != own.id:
            self._observer.warning(
                f"{name}: is not kept: local storage has another image of"
                " this name"
            )
            return
        self._storage.keep(name)


class LocalWorkspaces:
    """Opens workspaces; see `container.modification.workspace.Workspaces`.

    :param observer: is told of images that cannot be kept.
    """

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def check(
        self, ansible_role: str, variables: Mapping[str, object]
    ) -> None:
        from imageprep_client.modify import ansible

        ansible.check(ansible_role, variables)

    @contextlib.contextmanager
    def open(self) -> Iterator[LocalWorkspace]:
        from imageprep_client.modify.storage import private_storage
        from imageprep_client.programs.buildah import Buildah
        from imageprep_client.stores.containers import ContainersStorage

        host = Buildah()
        with (
            private_storage(host) as storage,
            ContainersStorage(storage.buildah) as containers,
        ):
            try:
                yield LocalWorkspace(storage, containers, host, self._observer)
            finally:
                # Threads of an interrupted run may still be working.
                storage.buildah.stop()


def _path(name: str) -> str:
    """The repository of a layout, for an image of this name and tag."""
    # A repository does not allow every letter of a name.
    return f"image-{hashlib.sha256(name.encode()).hexdigest()}"
