"""Bringing images from registries into local storage.

They go the way of every image, the one copy, into image layouts in a
directory that goes away; buildah takes them from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
from collections.abc import Callable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.buildah import is_abandoned, own_name
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.ledger import Ledger
from imageprep_client.transfer.survey import Copy

#: Where images are unpacked when TMPDIR does not say, as other tools do: a
#: /tmp may be in memory.
_LARGE_TEMPORARY = "/var/tmp"  # noqa: S108 - a name nobody knows is made in it
_TAG = "staged"


@dataclasses.dataclass(frozen=True, slots=True)
class Fetched:
    """One image, in a layout; `Buildah.pull` takes it from there.

    :ivar reference: where it is from.
    :ivar layout, tag: its place.
    :ivar error: why it is not there, or None.
    """

    reference: Reference
    layout: str
    tag: str
    error: errors.ImagePrepError | None


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """A directory for a run's own files, private, removed at the end.

    Those of killed runs are removed first.

    :raises InvalidArgument: when there can be none.
    """
    parent = os.environ.get("TMPDIR") or _LARGE_TEMPORARY
    directory = os.path.join(parent, own_name())
    try:
        _remove_abandoned(parent)
        os.mkdir(directory, mode=0o700)
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise errors.InvalidArgument(
            f"{parent}: cannot be used for temporary files: {reason}",
            hint="set TMPDIR",
        ) from error
    try:
        yield directory
    finally:
        # A thread of a copy that was stopped may still make one file more.
        shutil.rmtree(directory, ignore_errors=True)
        if os.path.exists(directory):
            shutil.rmtree(directory)


def _remove_abandoned(parent: str) -> None:
    for name in os.listdir(parent):
        if is_abandoned(name):
            # Another user's is not ours to remove.
            shutil.rmtree(os.path.join(parent, name), ignore_errors=True)


def fetch(
    references: Sequence[Reference],
    directory: str,
    *,
    source: Callable[[Reference], base.ReadableStore],
    destination: Callable[[str, str], base.Store],
    observer: Observer,
    concurrency: int = engine.CONCURRENCY,
) -> list[Fetched]:
    """Copy images for this host's platform into layouts, each blob once.

    :param directory: `scratch`; the layouts are in a directory in it.
    :param source, destination: the stores of a reference, and of a place
        and a repository.
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
            platform=graph.host_platform(),
        )
        for number, reference in enumerate(references)
    ]
    if not copies:
        return []
    outcomes = engine.copy_all(
        copies,
        observer=observer,
        ledger=Ledger(),
        concurrency=concurrency,
        keep_going=True,
    )
    return [
        Fetched(
            reference=reference,
            layout=os.path.join(root, copy.destination.repository),
            tag=_TAG,
            error=outcome.error,
        )
        for reference, copy, outcome in zip(
            references, copies, outcomes, strict=True
        )
    ]
