"""Where the images of an entry are copied to."""

from __future__ import annotations

from collections.abc import Callable

from imageprep_client import errors
from imageprep_client.container import sources
from imageprep_client.heat.parameters import PrepareEntry, PrepareParameters
from imageprep_client.host import undercloud
from imageprep_client.oci.location import Location


def location(
    entry: PrepareEntry,
    parameters: PrepareParameters,
    undercloud_registry: Callable[[], str],
) -> Location | None:
    """The location that an entry names; None: nothing is copied.

    :raises InvalidFile: when it is no location of images.
    """
    if not entry.push_destination:
        return None
    try:
        if isinstance(entry.push_destination, str):
            return Location.parse(entry.push_destination)
        if parameters.local_registry:
            return Location.of_host(parameters.local_registry, undercloud.PORT)
        return Location.parse(undercloud_registry())
    except errors.InvalidReference as error:
        raise errors.InvalidFile(
            entry.path, str(error), key=f"{entry.key}.push_destination"
        ) from error


def repository(path: str, location: Location) -> str:
    """The repository at a location for an image; see `sources.below`.

    :param path: the name of the image without tag and digest.
    :raises InvalidReference: when it is no repository.
    """
    return location.repository(sources.below(path))
