"""Copying one image, named on the command line, to a registry or a tree."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

from imageprep_client import errors
from imageprep_client.container.request import Row
from imageprep_client.heat.parameters import Credential
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.stores import base
from imageprep_client.transfer import engine, graph
from imageprep_client.transfer.admission import Admits
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.copies import Copy

_LOCAL = "containers-storage:"
_SIMILAR = 5


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PushRequest:
    """One image to copy.

    :ivar image: a `Location`, or ``repository[:tag][@digest]``; with
        both the digest is copied and the tag is given to it. In local
        storage ``[containers-storage:]name``, completed as buildah does, or
        an ID.
    :ivar local: the image is in local storage.
    :ivar cleanup: remove the name of a local image after the copy.
    :ivar registry_url: the destination; None: the registry of the undercloud.
    :ivar append_tag: the suffix of the tag at the destination.
    :ivar multi_arch: copy an index as it is, not one image of it.
    :ivar referrers: what happens to signatures and other artifacts.
    :ivar nondistributable: whether non-distributable layers with URLs are
        copied as well.
    """

    image: str
    registry_url: str | None = None
    append_tag: str = ""
    multi_arch: bool = False
    referrers: ReferrersPolicy = ReferrersPolicy.COPY
    nondistributable: bool = False
    dry_run: bool = False
    local: bool = False
    cleanup: bool = False
    image_timeout: float | None = None
    source_credential: Credential | None = None
    credential: Credential | None = None

    @property
    def local_name(self) -> str | None:
        """The image in local storage as it was named; None for others.

        :raises InvalidArgument: when it cannot be there.
        :raises InvalidReference: when a part breaks the grammar.
        """
        if not self.local and not self.image.startswith(_LOCAL):
            return None
        name = self.image.removeprefix(_LOCAL)
        if not name or name.startswith(("[", "-")):
            raise errors.InvalidArgument(
                f"{self.image}: no name of an image in local storage",
                hint=f"write {_LOCAL}NAME:TAG; where the storage is,"
                " CONTAINERS_STORAGE_CONF says",
            )
        Reference.parse(name)
        if self.source_credential is not None:
            raise errors.InvalidArgument(
                f"{self.image}: local storage takes no user and password"
            )
        return name


def source_of(image: str) -> Reference:
    """The image in a registry that is to be copied.

    :raises InvalidArgument: when it has no tag.
    :raises InvalidReference: when a part breaks the grammar.
    """
    reference = Reference.parse(image)
    if reference.digest and not reference.tag:
        raise errors.InvalidArgument(
            f"{image}: no tag to give to the copy",
            hint="name the image as name:tag@digest",
        )
    return dataclasses.replace(reference, tag=reference.tag or "latest")


def local_source(given: str, identity: str, names: Sequence[str]) -> Reference:
    """The name of a local image that the user refers to.

    :param given: a whole name, the end of one, an ID or with a digest.
    :param identity: the ID of the image that buildah found by it.
    :param names: the names of this image.
    :raises InvalidArgument: when it has none, or the name is ambiguous.
    """
    whole = _with_tag(given)
    tagged = sorted(name for name in names if "@" not in name)
    ends = [n for n in tagged if n == whole or n.endswith(f"/{whole}")]
    for name in (whole, f"localhost/{whole}", *ends):
        if name in tagged:
            return Reference.parse(name)
    if "@" not in given and not identity.startswith(_bare(given)):
        # buildah takes one of its images, which has other names.
        raise errors.InvalidArgument(
            f"{given}: images for several platforms are under this name",
            hint="push one of them by its own name or ID",
        )
    if len(tagged) == 1:
        return Reference.parse(tagged[0])
    if tagged:
        raise errors.InvalidArgument(
            f"{given}: this image has several names: {', '.join(tagged)}",
            hint="push it by one of them",
        )
    raise errors.InvalidArgument(
        f"{given}: this image has no name, so its copy would have none",
        hint=f"give it one: buildah tag {given} localhost/<name>:<tag>",
    )


def no_such_image(given: str, names: Sequence[str]) -> errors.NotFound:
    """The error for a name that no local image has.

    :param names: the names of all local images.
    """
    whole = _with_tag(given)
    alike = [n for n in names if _last(n) == _last(whole)]
    alike += difflib.get_close_matches(whole, names, n=_SIMILAR)
    similar = ", ".join(list(dict.fromkeys(alike))[:_SIMILAR])
    return errors.NotFound(
        f"{_LOCAL}{given}: no such image in local storage",
        hint=f"there is {similar}"
        if similar
        else "list what there is: buildah images",
    )


def clean_up(reference: Reference, remove: Callable[[str], None]) -> None:
    """Remove the local name of a copied image.

    :raises PartialFailure: when that fails; the copy is in place.
    """
    try:
        remove(str(reference))
    except errors.StoreError as error:
        raise errors.PartialFailure(
            f"{reference}: copied, but its local name is still there", [error]
        ) from error


def _bare(identity: str) -> str:
    return identity.removeprefix("sha256:")


def _with_tag(name: str) -> str:
    return name if ":" in name.rpartition("/")[2] else f"{name}:latest"


def _last(name: str) -> str:
    """The last part of a name, without the tag."""
    return name.rpartition("/")[2].partition(":")[0]


def push(
    request: PushRequest,
    reference: Reference,
    place: Location,
    *,
    source: Callable[[Reference, base.Store], base.ReadableStore],
    destination: Callable[[str, str], base.Store],
    locked: Callable[[Callable[[str], None]], AbstractContextManager[None]],
    admission: Admits | None,
    observer: Observer,
    concurrency: int,
) -> Row:
    """Copy the image; a dry run estimates the transfer.

    :param reference: the image of `request`.
    :param source: its store, for a copy to this destination.
    :param admission: decides whether it may be copied; None: it may.
    :raises CopyError: `origin` says which side failed.
    :raises InputError: nothing was done.
    """
    tag = references.check_tag(f"{reference.tag}{request.append_tag}")
    repository = place.repository(reference.repository)
    store = destination(place.registry, repository)
    name = f"{_LOCAL if request.local_name else ''}{reference}"
    copy = Copy(
        name=name,
        source=source(reference, store),
        reference=reference.identifier,
        destination=store,
        tag=tag,
        platforms=graph.ALL_PLATFORMS
        if request.multi_arch
        else graph.OnePlatform(graph.host_platform()),
        referrers=request.referrers,
        nondistributable=request.nondistributable,
        admission=admission,
        timeout=request.image_timeout,
    )

    with (
        contextlib.nullcontext()
        if request.dry_run
        else locked(observer.waiting)
    ):
        (result,) = engine.copy_all(
            [copy],
            observer=observer,
            concurrency=concurrency,
            dry_run=request.dry_run,
        )
    if result.error is not None:
        raise result.error
    return Row.of(
        result,
        image=request.image,
        source=name,
        destination=f"{references.join(place.registry, repository)}:{tag}",
    )
