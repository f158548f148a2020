"""Sources and destinations of the images of an entry."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from imageprep_client import errors
from imageprep_client.catalog import TableImage
from imageprep_client.heat.parameters import (
    LOCAL_REGISTRY,
    PrepareEntry,
    PrepareParameters,
)
from imageprep_client.host import undercloud
from imageprep_client.oci import reference as references
from imageprep_client.oci.location import Location
from imageprep_client.oci.redaction import redacted
from imageprep_client.oci.reference import Reference


def check_name(
    entry: PrepareEntry, image: TableImage, values: Mapping[str, object]
) -> None:
    """Check that the values of an entry make a name.

    :raises InvalidFile: when they do not.
    """
    try:
        Reference.parse(image.image)
    except errors.InvalidReference as error:
        parts = ", ".join(
            f"{name} is {_shown(values[name])!r}"
            if name in values
            else f"{name} is not given"
            for name in image.variables
        )
        hint = f"correct these values: {parts}" if parts else None
        raise entry.error(
            f"makes {redacted(image.image)[:300]!r}, which is no image:"
            f" {error}",
            "set",
            error.hint or hint,
        ) from error


def _shown(value: object) -> object:
    return redacted(value) if isinstance(value, str) else value


def path_of(image: str, reference: Reference) -> str:
    """The name of an image without its tag and digest."""
    return image.partition("@")[0].removesuffix(f":{reference.tag}")


def below(path: str) -> str:
    """The part of a name after its registry.

    The part before the first slash is taken for the registry, even where it
    is a namespace of docker.io: the parameters of deployments have always
    been made like this.

    :param path: the name without tag and digest.
    """
    _, rest = references.split(path)
    return rest or path


def stored(image: str) -> str:
    """The repository of an image in a location with the images of a run.

    :raises InvalidReference: when it is no image.
    """
    path = path_of(image, Reference.parse(image))
    return references.check_repository(below(path))


def source(image: str, entry: PrepareEntry) -> Reference:
    """The source of an image of an entry.

    ``pull_source`` replaces the registry in the name, or precedes a name that
    has none.

    :raises InvalidFile: when that makes no image.
    """
    if not entry.pull_source:
        return Reference.parse(image)
    first, rest = references.split(image)
    if not references.is_transport(first) and not references.is_registry(
        first
    ):
        rest = image
    try:
        place = Location.parse(entry.pull_source)
        path = f"{place.path}/{rest}" if place.path else rest
        return Reference.parse(references.join(place.registry, path))
    except errors.InvalidReference as error:
        raise entry.error(str(error), "pull_source", error.hint) from error


def read_from(
    image: str, entry: PrepareEntry, place: Location | None
) -> Reference:
    """The image to read for an image of an entry.

    :param place: a location with the images as a run stores them; None: the
        registries of names and entries.
    :raises InvalidFile: when that makes no image.
    """
    if place is None:
        return source(image, entry)
    reference = Reference.parse(image)
    path = path_of(image, reference)
    try:
        return place.image(below(path) + image.removeprefix(path))
    except errors.InvalidReference as error:
        raise entry.error(f"{image}: {error}", "set") from error


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
    if entry.push_destination is True and parameters.local_registry:
        with parameters.blamed(LOCAL_REGISTRY):
            return Location.of_host(parameters.local_registry, undercloud.PORT)
    try:
        if isinstance(entry.push_destination, str):
            return Location.parse(entry.push_destination)
        return Location.parse(undercloud_registry())
    except errors.InvalidReference as error:
        raise entry.error(
            str(error), "push_destination", error.hint
        ) from error


def repository(path: str, location: Location) -> str:
    """The repository at a location for an image; see `below`.

    :param path: the name of the image without tag and digest.
    :raises InvalidReference: when it is no repository.
    """
    return location.repository(below(path))
