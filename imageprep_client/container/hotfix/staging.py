"""Fetch images from registries for local storage.

They are copied, like all images, into image layouts in a temporary directory,
from which buildah pulls them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.container.request import CopyStores
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer import engine, graph
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
    stores: CopyStores,
    observer: Observer,
    timeout: float | None,
) -> list[Fetched]:
    """Copy images for this host's platform into layouts, each blob once.

    :param directory: an existing directory; the layouts are made below it.
    :returns: one image for each reference, in order; a failed image does not
        stop the others.
    :raises NoSpace: when the disk is full.
    """
    root = os.path.join(directory, "layouts")
    copies = [
        Copy(
            name=str(reference),
            source=stores.source(reference),
            reference=reference.identifier,
            destination=stores.destination(f"oci:{root}", f"image{number}"),
            tag=_TAG,
            platforms=graph.OnePlatform(graph.host_platform()),
            admission=stores.admission(reference),
            timeout=timeout,
        )
        for number, reference in enumerate(references)
    ]
    if not copies:
        return []
    outcomes = engine.copy_all(copies, observer=observer, keep_going=True)
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
