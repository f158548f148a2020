"""The further destinations of a run, filled in the same pass."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.container import places
from imageprep_client.container.request import ImageStores, Row
from imageprep_client.container.worklist import WorkItem
from imageprep_client.oci import reference as references
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.transfer.copies import Copy
from imageprep_client.transfer.engine import CopyResult


class Additional:
    """The copies to further destinations, and their results.

    :param places: as the user names them.
    :ivar rows: one for each image and destination.
    :ivar failures: the errors of the copies that failed.
    :raises InvalidArgument: for a place that is none.
    """

    def __init__(self, places: Sequence[str], stores: ImageStores) -> None:
        self.rows: list[Row] = []
        self.failures: list[errors.ImagePrepError] = []
        self._stores = stores
        self._locations: list[Location] = []
        for place in places:
            try:
                location = Location.parse(place)
            except errors.InvalidReference as error:
                raise errors.InvalidArgument(
                    f"--also-to: {error}", hint=error.hint
                ) from error
            if location in self._locations:
                raise errors.InvalidArgument(f"--also-to {place}: given twice")
            self._locations.append(location)

    def __bool__(self) -> bool:
        return bool(self._locations)

    def check(self, items: Sequence[WorkItem]) -> None:
        """Check that each image is copied to each place once.

        :raises InvalidArgument: when an entry copies it there already.
        """
        taken = {item.target for item in items}
        for item in items:
            for location in self._locations:
                target = self._target(item, location)
                if target in taken:
                    raise errors.InvalidArgument(
                        f"--also-to {location}: {target} is copied there"
                        " anyway",
                        hint="name other destinations than those of the"
                        " entries, each once",
                    )

    def copies(self, item: WorkItem, first: Copy) -> list[Copy]:
        """The further copies of an image.

        :param first: the copy to the destination of its entry.
        """
        return [
            dataclasses.replace(
                first,
                name=f"{first.name} to {location}",
                destination=self._stores.further(
                    location.registry, self._repository(item, location)
                ),
                current=None,
            )
            for location in self._locations
        ]

    def note(self, item: WorkItem, results: Sequence[CopyResult]) -> None:
        """Record the results of `copies`."""
        for location, result in zip(self._locations, results, strict=True):
            self.rows.append(
                Row.of(
                    result,
                    image=item.image,
                    source=str(item.source),
                    destination=self._target(item, location),
                )
            )
            if result.error is not None:
                self.failures.append(result.error)

    def _repository(self, item: WorkItem, location: Location) -> str:
        path = places.path_of(item.image, Reference.parse(item.image))
        return places.repository(path, location)

    def _target(self, item: WorkItem, location: Location) -> str:
        path = references.join(
            location.registry, self._repository(item, location)
        )
        return f"{path}:{item.tag}"
