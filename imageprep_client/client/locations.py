"""Single images, as commands name them."""

from __future__ import annotations

import os

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.oci.location import Location
from imageprep_client.oci.redaction import redacted
from imageprep_client.oci.reference import Reference


def place(text: str) -> Location:
    """The place that a user names.

    :raises InvalidReference: when it is no place for images.
    :raises InvalidArgument: when it is a file without its kind.
    """
    if ":" not in text and os.path.isfile(text):
        raise errors.InvalidArgument(
            f"{text}: a file, and no registry",
            hint=f"name an archive as oci-archive:{text}, a registry as"
            f" docker://{text}",
        )
    return Location.parse(text)


def located(text: str) -> tuple[str, Reference]:
    """The place that an image is in, and its name there.

    :param text: ``[docker://]HOST/REPOSITORY[:TAG][@DIGEST]``, or the same
        below ``oci:DIRECTORY//`` or ``image-serve:DIRECTORY//``.
    :raises InvalidReference: when it is none of these.
    """
    references.check_complete(text)
    whole = text
    text, at, digest = text.removeprefix("docker://").partition("@")
    place, name = references.split(text)
    if not name:
        raise errors.InvalidReference(
            f"{redacted(whole)[:300]!r}: names no image",
            hint="write HOST/REPOSITORY:TAG, oci:DIRECTORY//REPOSITORY:TAG or"
            " image-serve:DIRECTORY//REPOSITORY:TAG",
        )
    if not references.is_transport(place):
        place = references.check_registry(place)
    return place, Reference.parse(f"localhost/{name}{at}{digest}")


def tagged(text: str) -> tuple[str, Reference]:
    """As `located`, for an image that is written.

    :raises InvalidArgument: when it names no tag.
    """
    place, name = located(text)
    if name.digest or not name.tag:
        raise errors.InvalidArgument(
            f"{text}: names no tag", hint="end it with :TAG"
        )
    return place, name
