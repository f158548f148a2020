"""Finding out tags and labels of all images that need it, at once."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

from imageprep_client import errors
from imageprep_client.container import discovery, worklist
from imageprep_client.observer import Observer, Phase
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer.known import KnownContent
from imageprep_client.transfer.workers import Workers


@dataclasses.dataclass(frozen=True, slots=True)
class Found:
    """The result of a discovery.

    :ivar pins: one for each image; those that failed say why.
    :ivar descriptors: what the tags name.
    """

    pins: dict[worklist.Key, worklist.Pin] = dataclasses.field(
        default_factory=dict
    )
    descriptors: dict[Reference, Descriptor] = dataclasses.field(
        default_factory=dict
    )


def discover(
    wanted: Sequence[worklist.Query],
    source: Callable[[Reference], base.ReadableStore],
    *,
    observer: Observer,
    concurrency: int,
    known: KnownContent | None = None,
) -> Found:
    """Ask for all of them; one that fails does not keep the others.

    :param source: opens the repository that an image is pulled from.
    :param known: keeps the manifests and configs that are read.
    """
    found = Found()
    lacking: dict[str, list[str]] = {}
    lock = threading.Lock()

    def find(query: worklist.Query) -> None:
        discovered = discovery.discover(
            source(query.reference),
            str(query.reference),
            query.reference.identifier,
            query.label,
            fallback=query.default_tag,
            known=known,
        )
        pinned = dataclasses.replace(query.reference, tag=discovered.tag)
        with lock:
            found.pins[query.key] = worklist.Pin(
                discovered.tag if query.label else "",
                query.labels.intersection(discovered.labels),
            )
            found.descriptors[pinned] = discovered.descriptor
            if discovered.missing:
                lacking.setdefault(discovered.missing, []).append(query.key[0])
        observer.advanced(Phase.DISCOVER)

    observer.phase(Phase.DISCOVER, len(wanted))
    with Workers(concurrency, keep_going=True) as workers:
        for query, error in workers.each(find, wanted):
            found.pins[query.key] = worklist.Pin("", error=error)
    for label, images in sorted(lacking.items()):
        asked = sum(query.label == label for query in wanted)
        observer.warning(
            f"tag_from_label {label}: {len(images)} of {asked} images have"
            f" no such label and keep their tags, such as {min(images)}"
        )
    return found


def together(failed: Sequence[worklist.Undiscovered]) -> errors.ImagePrepError:
    """One error for several images: access problems first, as one."""
    failures = [each.error for each in failed]
    for failure in failures:
        if isinstance(
            failure,
            errors.Unreachable | errors.AccessDenied | errors.InputError,
        ):
            return failure
    summary = "no tag could be discovered"
    return errors.CombinedFailure(
        f"{summary} for {len(failures)} images"
        if len(failures) > 1
        else summary,
        failures,
    )
