"""The request and the result of a preparation."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, Self

from imageprep_client import errors
from imageprep_client.heat.parameters import PrepareParameters
from imageprep_client.observer import ImageOutcome
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.location import Location
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.retry import RetryPolicy
from imageprep_client.stores import base
from imageprep_client.transfer.admission import Admits
from imageprep_client.transfer.attached import ReferrersPolicy
from imageprep_client.transfer.engine import CopyResult

_IN_PLACE = (ImageOutcome.COPIED, ImageOutcome.PRESENT)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PrepareRequest:
    """One preparation, as the command line or a program asks for it.

    :ivar environment_files: heat environments; later ones override earlier
        ones.
    :ivar images_from: the location that all images are read from, with the
        layout that a run gives it; None: the registries in their names.
    :ivar carry: the file that all images are carried in; None: they are
        copied to their destinations.
    :ivar part_size: bytes of the parts that the file is split into; 0: it is
        not split.
    :ivar since: files that were carried before, and reports of runs at the
        other site; their layers are left out.
    :ivar environment_directories: directories whose ``*.yaml`` files are
        read before `environment_files`.
    :ivar roles_files: files with roles; empty: services are not filtered,
        unless a plan has roles.
    :ivar template_file: an image table of the user's own, or None.
    :ivar output_env_file: the file for the parameters, or None.
    :ivar output_images_file: the file for the list of images, from which
        other programs fill a mirror, or None.
    :ivar ceph_vars_file: the file for the credentials of the registry in
        ``ceph_namespace``, or None.
    :ivar also_to: further destinations of all images that are copied.
    :ivar pin_digests: whether parameters name digests instead of tags.
    :ivar platforms: the platforms whose images are copied with an index,
        which stays as it is; empty: as the entries say.
    :ivar referrers: how signatures and other artifacts are copied.
    :ivar nondistributable: whether non-distributable layers with URLs are
        copied as well.
    :ivar image_timeout: the maximum seconds of work on one image; None: no
        limit.
    :ivar recheck: check all content of images that registries have, even if
        it was checked recently.
    :ivar keep_going: continue with the other images when one fails, or its
        tag cannot be discovered.
    :ivar concurrency: the maximum number of concurrent pieces of work.
    :ivar modify_concurrency: the maximum number of images modified at once;
        0: two for each processor.
    :ivar cleanup: which of the local images that modifying makes are removed
        afterwards: ``full``: all, ``partial``: those that were modified stay,
        ``none``: their sources, too.
    """

    environment_files: Sequence[str] = ()
    images_from: Location | None = None
    carry: str | None = None
    part_size: int = 0
    since: Sequence[str] = ()
    environment_directories: Sequence[str] = ()
    roles_files: Sequence[str] = ()
    release: str | None = None
    template_file: str | None = None
    output_env_file: str | None = None
    output_images_file: str | None = None
    ceph_vars_file: str | None = None
    dry_run: bool = False
    also_to: Sequence[str] = ()
    pin_digests: bool = False
    platforms: Sequence[Platform] = ()
    referrers: ReferrersPolicy = ReferrersPolicy.COPY
    nondistributable: bool = False
    keep_going: bool = False
    recheck: bool = False
    image_timeout: float | None = None
    concurrency: int = 0
    modify_concurrency: int = 0
    cleanup: str = "full"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The outcome of one image.

    :ivar image: its name as rendered from the table, with the discovered
        tag.
    :ivar source: the image that it is pulled from.
    :ivar destination: the image that it was copied to, or None.
    :ivar digest: of what the parameters name; None when unknown.
    :ivar outcome: the last state of the image.
    :ivar copied, mounted, kept: bytes, as in `transfer.engine.CopyResult`.
    :ivar error: the reason of a failure, or None.
    :ivar accepted: the requirement of the signature policy that accepted it,
        or None without a policy.
    """

    image: str
    source: str
    destination: str | None = None
    digest: str | None = None
    outcome: ImageOutcome
    copied: int = 0
    mounted: int = 0
    kept: int = 0
    seconds: float = 0.0
    error: str | None = None
    accepted: str | None = None

    @classmethod
    def of(
        cls, result: CopyResult, *, image: str, source: str, destination: str
    ) -> Self:
        return cls(
            image=image,
            source=source,
            destination=destination,
            digest=result.descriptor.digest if result.descriptor else None,
            outcome=result.outcome,
            copied=result.copied,
            mounted=result.mounted,
            kept=result.kept,
            seconds=round(result.seconds, 3),
            error=str(result.error) if result.error else None,
            accepted=result.accepted,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class PrepareResult:
    """The result of a preparation.

    :ivar rows: one per image and destination, sorted by name.
    :ivar parameters: the heat parameters, without those of images whose tag
        could not be discovered. They are written when no image failed.
    :ivar failures: one error per image that failed.
    :ivar additional_failures: errors of copies to further destinations.
    :ivar carried: the size of the file that has all images; 0: there is none.
    :ivar plan_changed: whether the parameters were written into a plan.
    :ivar error: why the preparation as a whole failed, or None: tags could
        not be discovered, no registry gave access, or results could not be
        written although all images are in place.
    """

    rows: Sequence[Row]
    parameters: Mapping[str, Any]
    failures: Sequence[errors.ImagePrepError] = ()
    additional_failures: Sequence[errors.ImagePrepError] = ()
    error: errors.ImagePrepError | None = None
    carried: int = 0
    plan_changed: bool = False

    @property
    def all_failures(self) -> Sequence[errors.ImagePrepError]:
        """The errors of all destinations."""
        return [*self.failures, *self.additional_failures]

    @property
    def nothing_done(self) -> bool:
        """Whether no image is in place because no registry gave access.

        A missing or broken image fails alone; a registry that does not answer,
        or refuses, fails all of them.
        """
        access = (
            errors.Unreachable,
            errors.AccessDenied,
            errors.ServerFault,
            errors.NoSpace,
            errors.InputError,
        )
        return (
            bool(self.all_failures)
            and all(
                isinstance(error, access)
                or isinstance(error.__cause__, access)
                for error in self.all_failures
            )
            and not any(row.outcome in _IN_PLACE for row in self.rows)
        )


class CopyStores(Protocol):
    """Opens the stores of copies; the composition root implements it."""

    def source(self, reference: Reference) -> base.ReadableStore:
        """The repository that an image is read from."""
        ...

    def admission(self, reference: Reference) -> Admits | None:
        """The check whether an image may be copied; None: it may."""
        ...

    def destination(
        self, push_destination: str, repository: str
    ) -> base.Store:
        """The repository below a push destination.

        :raises StoreError: when the destination cannot be written to.
        """
        ...


class ImageStores(CopyStores, Protocol):
    """All that a preparation needs of stores."""

    def signatures(
        self, reference: Reference, manifest: Descriptor
    ) -> Sequence[bytes]:
        """The signatures of a manifest that are kept beside its registry.

        :raises StoreError: when one cannot be read.
        """
        ...

    def further(self, place: str, repository: str) -> base.Store:
        """The repository below a further destination.

        :raises StoreError: when the destination cannot be written to.
        """
        ...

    def insecure(self, registries: Iterable[str]) -> frozenset[str]:
        """The registries that use plain HTTP, whose certificate was not
        verified in this run, or that the user has listed as insecure.

        :param registries: as parameters name them.
        """
        ...

    def locked(
        self, waiting: Callable[[str], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Exclude other runs that write to the same trees.

        :param waiting: called when another run has a tree locked.
        """
        ...


class OpenStores(Protocol):
    """Opens the stores of one run."""

    def __call__(
        self, parameters: PrepareParameters, policy: RetryPolicy
    ) -> ImageStores:
        """Stores with the credentials and mirrors of `parameters`.

        :param policy: of requests; with `BRIEF` a registry has a few
            seconds to answer.
        """
        ...
