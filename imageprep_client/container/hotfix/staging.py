"""Fetch images from registries for local storage.

They are copied, like all images, into image layouts in a temporary directory,
from which buildah pulls them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.admission import Admits
from imageprep_client.transfer.copies import Copy

_TAG = "staged"


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """One image in a layout, for `Buildah.pull`.

    :ivar reference: the image in its registry.
    :ivar store: the layout; `layout` is its directory.
    :ivar tag: the tag of the image in the layout.
    :ivar error: the reason if it could not be fetched, or None.
    """

    reference: Reference
    store: base.ReadableStore
    layout: str
    tag: str
    error: errors.ImagePrepError | None


def fetch(
    references: Sequence[Reference],
    directory: str,
    *,
    source: Callable[[Reference], base.ReadableStore],
    destination: Callable[[str, str], base.Store],
    admission: Callable[[Reference], Admits | None],
    observer: Observer,
    concurrency: int = engine.CONCURRENCY,
    image_timeout: float | None = None,
) -> list[Fetched]:
    """Copy images for this host's platform into layouts, each blob once.

    :param directory: an existing directory; the layouts are made below it.
    :param source, destination: open the store of a reference, and of a
        location and a repository.
    :param admission: decides whether an image may be copied.
    :returns: one image for each reference, in order; a failed image does not
        stop the others.
    :raises NoSpace: when the disk is full.
    """
    root = os.path.join(directory, "layouts")
    copies = [
        Copy(
            name=str(reference),
            source=source(reference),
            reference=reference.identifier,
            destination=destination(f"oci:{root}", f"image{number}"),
            tag=_TAG,
            platforms=graph.OnePlatform(graph.host_platform()),
            admission=admission(reference),
            timeout=image_timeout,
        )
        for number, reference in enumerate(references)
    ]
    if not copies:
        return []
    outcomes = engine.copy_all(
        copies,
        observer=observer,
        concurrency=concurrency,
        keep_going=True,
    )
    return [
        Fetched(
            reference=reference,
            store=copy.destination,
            layout=os.path.join(root, copy.destination.repository),
            tag=_TAG,
            error=outcome.error,
        )
        for reference, copy, outcome in zip(
            references, copies, outcomes, strict=True
        )
    ]
