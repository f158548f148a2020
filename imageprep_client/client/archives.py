"""The files in which images are carried to another site."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

from imageprep_client import errors
from imageprep_client.client import locations
from imageprep_client.container import carrying
from imageprep_client.container.carrying import Carrying
from imageprep_client.container.request import PrepareRequest
from imageprep_client.host import files, inputs
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.location import Location

if TYPE_CHECKING:
    from imageprep_client.stores.archive import Archive, NewArchive

_SUFFIX = ".tar"


def place(text: str) -> Location:
    """The place that a user names to read images from.

    A path, a file, or a name that ends with ``.tar``, is that of an archive.

    :raises InvalidReference: when it is no place for images.
    :raises InvalidArgument: when it is a directory without its kind.
    """
    # Not at the top: most runs would wait for what they do not use.
    from imageprep_client.stores.archive import parts

    is_file = any(map(os.path.isfile, (text, parts.part(text, 0))))
    if (
        is_file
        or text.startswith(("/", "./", "../"))
        or (text.endswith(_SUFFIX) and ":" not in text)
    ):
        return Location(f"oci-archive:{os.path.abspath(text)}")
    if ":" not in text and os.path.isdir(text):
        raise errors.InvalidArgument(
            f"{text}: a directory whose kind of content is not given",
            hint=f"name a tree as image-serve:{text}, layouts as oci:{text},"
            f" a registry as docker://{text}",
        )
    return locations.place(text)


@contextlib.contextmanager
def opened(request: PrepareRequest) -> Iterator[Carrying | None]:
    """The file that a request wants images to be carried in, if any.

    :raises InputError: when it cannot be written, or `since` not be read.
    """
    if not request.carry:
        if request.since or request.part_size:
            raise errors.InvalidArgument(
                "--since and --split-size are for an archive",
                hint="name the archive with --carry",
            )
        yield None
        return
    if request.also_to:
        raise errors.InvalidArgument(
            "--carry takes the place of all destinations",
            hint="leave --also-to out",
        )
    # Not at the top: most runs would wait for what they do not use.
    from imageprep_client.stores.archive import Archive, NewArchive

    files.check(request.carry)
    archive = NewArchive(request.carry, part_size=request.part_size)
    with contextlib.closing(archive):
        reports = []
        for path in request.since:
            if _is_report(path):
                reports.append(path)
            else:
                _leave_out(archive, Archive(path))
        if not request.dry_run:
            archive.prepare()
        yield Carrying(archive, reports)


def _is_report(path: str) -> bool:
    """Whether a file is JSON."""
    if not os.path.exists(path):
        return False
    with inputs.open_regular(path) as file:
        return file.read(1) == b"{"


def _leave_out(archive: NewArchive, earlier: Archive) -> None:
    """Leave out all layers that an earlier archive has, or left out."""
    with contextlib.closing(earlier):
        for repository in earlier.repositories():
            store = earlier.store(repository)
            for root in earlier.contents.named(repository):
                for layer in carrying.layers(store, root):
                    archive.leave_out(layer, repository)
        for digest, one in earlier.contents.left_out.items():
            for repository in one.repositories:
                archive.leave_out(
                    Descriptor("application/octet-stream", digest, one.size),
                    repository,
                )
