"""Bringing images from registries into local storage.

They go the way of every image, the one copy, into image layouts in a
directory that goes away; buildah takes them from there.
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
    """One image, in a layout; `Buildah.pull` takes it from there.

    :ivar reference: where it is from.
    :ivar store: the layout, and `layout` its directory.
    :ivar tag: of the image in it.
    :ivar error: why it is not there, or None.
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
) -> list[Fetched]:
    """Copy images for this host's platform into layouts, each blob once.

    :param directory: exists; the layouts are in a directory in it.
    :param source, destination: the stores of a reference, and of a place
        and a repository.
    :param admission: decides whether an image may be copied.
    :returns: one for each reference, in order; one that fails does not keep
        the others.
    :raises NoSpace: when there is no room.
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
