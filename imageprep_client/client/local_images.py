"""Images in local storage as a source of copies."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from imageprep_client.container import pushing
from imageprep_client.container.pushing import PushRequest
from imageprep_client.oci.reference import Reference
from imageprep_client.programs.buildah import Buildah
from imageprep_client.stores import base
from imageprep_client.stores.containers import (
    ContainersStorage,
    ContainersStore,
)


class LocalSource:
    """One image in local storage.

    :ivar reference: the name of the image.
    """

    def __init__(
        self, storage: ContainersStorage, reference: Reference
    ) -> None:
        self.reference = reference
        self._storage = storage

    def store(
        self, reference: Reference, going_to: base.ReadableStore
    ) -> ContainersStore:
        """The repository of the image, for a copy to another store."""
        return ContainersStore(self._storage, reference.name, going_to)

    def clean_up(self) -> None:
        """Remove its name; see `container.pushing.clean_up`."""
        pushing.clean_up(self.reference, self._storage.buildah.remove)


@contextlib.contextmanager
def storage() -> Iterator[ContainersStorage]:
    """Open the local storage of this host for one run."""
    buildah = Buildah()
    with ContainersStorage(buildah) as containers:
        try:
            yield containers
        finally:
            # Threads of an interrupted run may still be waiting for buildah.
            buildah.stop()


@contextlib.contextmanager
def source(request: PushRequest) -> Iterator[LocalSource | None]:
    """The local image to copy; None if the source is not local.

    :raises NotFound: when there is no such image.
    :raises InvalidArgument: when it has no name, or several.
    """
    name = request.local_name
    if not name:
        yield None
        return
    with storage() as containers:
        buildah = containers.buildah
        image = buildah.image(name)
        if image is None:
            names = [n for listed in buildah.images() for n in listed.names]
            raise pushing.no_such_image(name, names)
        reference = pushing.local_source(name, image.id, image.names)
        yield LocalSource(containers, reference)
