"""The availability of images that are not copied.

Images that are used in place need no copy, and a dry run copies nothing.
Neither fails if this host cannot reach a registry. It fails if the registry
answers that an image does not exist.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from imageprep_client import errors
from imageprep_client.container.copying import uncopied
from imageprep_client.container.request import Row
from imageprep_client.container.worklist import WorkItem
from imageprep_client.observer import ImageOutcome, Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.reference import Reference
from imageprep_client.transfer.workers import Workers

#: Failures of one image that hold for all images of the registry.
_SILENCING = (errors.Unreachable, errors.ServerFault)

Resolve = Callable[[Reference], Descriptor]


class Availability:
    """Queries the images of registries; a silent registry is asked once.

    :param resolve: queries one image, with short timeouts.
    """

    def __init__(
        self, resolve: Resolve, observer: Observer, concurrency: int
    ) -> None:
        self._resolve = resolve
        self._observer = observer
        self._concurrency = concurrency
        self._lock = threading.Lock()
        self._silent: dict[str, errors.StoreError] = {}
        self._refused: dict[Reference, errors.StoreError] = {}
        self._found: dict[Reference, Descriptor] = {}
        self._missing: dict[Reference, errors.ImagePrepError] = {}

    def ask(self, references: Iterable[Reference]) -> None:
        """Query these images, the first image of each registry first."""
        unique = list(dict.fromkeys(references))
        first: dict[str, Reference] = {}
        for reference in unique:
            first.setdefault(reference.registry, reference)
        rest = [r for r in unique if r not in first.values()]
        with Workers(self._concurrency, keep_going=True) as workers:
            workers.each(self._ask, first.values())
            workers.each(self._ask, rest)
        if self._refused:
            count = len(self._refused)
            self._observer.warning(
                f"{'one image is' if count == 1 else f'{count} images are'}"
                f" not checked: {next(iter(self._refused.values()))}"
            )

    def found(self, reference: Reference) -> Descriptor | None:
        """The manifest that the image's tag names, or None if unknown."""
        return self._found.get(reference)

    def missing(self, reference: Reference) -> errors.ImagePrepError | None:
        """The error of an image that does not exist, or None."""
        return self._missing.get(reference)

    def unchecked(self, reference: Reference) -> errors.StoreError | None:
        """The error of a query that gave no answer, or None."""
        return self._refused.get(reference) or self._silent.get(
            reference.registry
        )

    def _ask(self, reference: Reference) -> None:
        if reference.registry in self._silent:
            return
        try:
            descriptor = self._resolve(reference)
        except errors.NotFound as error:
            with self._lock:
                self._missing[reference] = error
        except _SILENCING as error:
            with self._lock:
                told = reference.registry in self._silent
                self._silent.setdefault(reference.registry, error)
            if not told:
                self._observer.warning(
                    f"{reference.registry}: its images are not checked:"
                    f" {error}"
                )
        except errors.StoreError as error:
            with self._lock:
                self._refused[reference] = error
        else:
            with self._lock:
                self._found[reference] = descriptor


def look(
    items: Iterable[WorkItem], availability: Availability, *, pinned: bool
) -> tuple[list[Row], list[errors.ImagePrepError]]:
    """Rows of images that are used in place.

    :param pinned: whether their digests have to be known.
    """
    rows = []
    failures: list[errors.ImagePrepError] = []
    for item in items:
        descriptor = availability.found(item.read_from)
        missing = availability.missing(item.read_from)
        if missing is not None:
            failures.append(missing)
        elif descriptor is None and pinned:
            reason = availability.unchecked(item.read_from)
            missing = errors.Unreachable(
                f"{item.source}: its digest is not known: {reason}",
                hint=reason.hint if reason else None,
            )
            failures.append(missing)
        outcome = ImageOutcome.FAILED
        if missing is None and descriptor:
            outcome = ImageOutcome.REFERENCED
        elif missing is None:
            outcome = ImageOutcome.UNCHECKED
        rows.append(
            uncopied(
                item,
                outcome,
                digest=descriptor.digest if descriptor else None,
                error=str(missing) if missing else None,
            )
        )
    return rows, failures
