"""Copying one image, named on the command line, to a registry or a tree."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager

from imageprep_client import errors
from imageprep_client.container.destination import Place
from imageprep_client.container.request import Row
from imageprep_client.heat.parameters import Credential
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.ledger import Ledger
from imageprep_client.transfer.survey import Copy

_LOCAL = "containers-storage:"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """One image to copy.

    :ivar image: ``[docker://][registry/]repository[:tag][@digest]``; with
        both the digest is copied and the tag is given to it.
    :ivar registry_url: where to; empty: the undercloud's registry.
    :ivar append_tag: is added to the tag at the destination.
    :ivar multi_arch: copy an index as it is, not one image of it.
    :ivar referrers: whether signatures and other artefacts come along.
    """

    image: str
    registry_url: str = ""
    append_tag: str = ""
    multi_arch: bool = False
    referrers: bool = True
    dry_run: bool = False
    source_credential: Credential | None = None
    credential: Credential | None = None


def source_of(image: str) -> Reference:
    """The image that is to be copied.

    :raises InvalidArgument: when it is in local storage, or has no tag.
    :raises InvalidReference: when a part breaks the grammar.
    """
    if image.startswith(_LOCAL):
        raise errors.InvalidArgument(
            f"{image}: images in local storage cannot be pushed yet",
            hint="name an image in a registry",
        )
    reference = Reference.parse(image.removeprefix("docker://"))
    if reference.digest and not reference.tag:
        raise errors.InvalidArgument(
            f"{image}: no tag to give to the copy",
            hint="name the image as name:tag@digest",
        )
    return dataclasses.replace(reference, tag=reference.tag or "latest")


def push(
    request: PushRequest,
    place: Place,
    *,
    source: Callable[[Reference], base.ReadableStore],
    destination: Callable[[str, str], base.Store],
    locked: Callable[[Callable[[str], None]], AbstractContextManager[None]],
    observer: Observer,
    concurrency: int,
) -> Row:
    """Copy the image; a dry run finds out what would move.

    :raises CopyError: `origin` says which side failed.
    :raises InputError: nothing was done.
    """
    reference = source_of(request.image)
    tag = references.check_tag(f"{reference.tag}{request.append_tag}")
    repository = place.repository(reference.repository)
    copy = Copy(
        name=str(reference),
        source=source(reference),
        reference=reference.identifier,
        destination=destination(place.registry, repository),
        tag=tag,
        platform=None if request.multi_arch else graph.host_platform(),
        attached=request.referrers,
    )

    def run() -> engine.Outcome:
        (outcome,) = engine.copy_all(
            [copy],
            observer=observer,
            ledger=Ledger(),
            concurrency=concurrency,
            dry_run=request.dry_run,
        )
        return outcome

    if request.dry_run:
        outcome = run()
    else:
        with locked(observer.waiting):
            outcome = run()
    if outcome.error is not None:
        raise outcome.error
    return Row.of(
        outcome,
        image=request.image,
        source=str(reference),
        destination=f"{place.registry}/{repository}:{tag}",
    )
