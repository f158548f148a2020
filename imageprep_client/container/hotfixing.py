"""Hotfixes: packages installed into images, which become new local images."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
from collections.abc import (
    Callable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from concurrent import futures
from pathlib import Path

from imageprep_client import (
    catalog,
    errors,
)
from imageprep_client.container import hotfix_targets, staging
from imageprep_client.container.hotfix_targets import Target
from imageprep_client.heat import environment, parameters
from imageprep_client.host import disk, files
from imageprep_client.modify.hotfix import (
    Hotfixer,
    is_temporary,
    remove_abandoned,
    temporary_name,
)
from imageprep_client.modify.imagerpm import PACKAGES
from imageprep_client.modify.reservation import reserved
from imageprep_client.observer import ImageOutcome, Observer, Phase
from imageprep_client.oci.location import Location
from imageprep_client.oci.reference import Reference
from imageprep_client.programs.buildah import (
    Buildah,
    LocalImage,
    image_id,
    temporary,
)
from imageprep_client.rpm import rpms
from imageprep_client.rpm.rpmfile import RpmFile
from imageprep_client.rpm.rpms import Change
from imageprep_client.stores import base
from imageprep_client.stores.diffids import DiffIdCheck
from imageprep_client.transfer.admission import Admits

# Programs and disks are at work for each.
_AT_ONCE = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HotfixRequest:
    """One set of packages for some images.

    :ivar images: ``[registry/]repository[:tag]``, each in local storage or
        else in its registry; behind ``docker://`` always in its registry,
        and behind ``containers-storage:`` never.
    :ivar rpms_path: the directory of the packages.
    :ivar tag: what the tags of the new images have at their end, after a
        hyphen; empty: ``hotfix-`` and the time.
    :ivar registry_url: where the new images will be pushed to; empty: the
        undercloud's registry.
    :ivar release: whose table knows the parameters; empty: the one that the
        header of an environment file names, or else the default.
    :ivar environment_files: heat environments of the deployment; only their
        headers count.
    :ivar output_env_file: where to write the parameters; empty: nowhere.
    :ivar header: comment lines above them.
    """

    images: Sequence[str]
    rpms_path: str
    tag: str = ""
    registry_url: str | None = None
    release: str = ""
    environment_files: Sequence[str] = ()
    output_env_file: str = ""
    header: Sequence[str] = ()


@dataclasses.dataclass(frozen=True, slots=True)
class Hotfixed:
    """One image that was changed.

    :ivar image: as the user named it.
    :ivar result: the name of the new image in local storage.
    :ivar target: what nodes call it once it is pushed.
    :ivar changes: such as ``nova-api 1.0-1 -> 1.1-1``, sorted.
    :ivar packages: the names of the packages that were changed.
    :ivar parameters: the heat parameters of the image; may be empty.
    """

    image: str
    result: str
    target: str
    changes: Sequence[str]
    packages: Sequence[str]
    parameters: Sequence[str]


@dataclasses.dataclass(frozen=True, slots=True)
class HotfixResult:
    """What became of all images.

    :ivar images: those that were changed, in the order of the request.
    :ivar parameters: heat parameter to the image it is to name.
    :ivar failures: one error for each other image.
    """

    images: Sequence[Hotfixed]
    parameters: Mapping[str, str]
    failures: Sequence[errors.ImagePrepError]


def _release(request: HotfixRequest) -> str:
    """The release whose table knows the parameters."""
    if request.release:
        return request.release
    loaded = map(environment.load, request.environment_files)
    return environment.release_of(loaded) or catalog.DEFAULT_RELEASE


def hotfix(
    request: HotfixRequest,
    *,
    source: Callable[[Reference], base.ReadableStore],
    destination: Callable[[str, str], base.Store],
    admission: Callable[[Reference], Admits | None],
    undercloud_registry: Callable[[], str],
    observer: Observer,
    now: datetime.datetime,
) -> HotfixResult:
    """Install packages into images; see `modify.hotfix` for one of them.

    The packages are read and checked before anything is done. Images that
    are not in local storage are brought there, and taken away again; what
    is there is changed, whatever its registry has. An image that fails does
    not keep the others. When this is interrupted nothing of it is left but
    images that were ready.

    :param source, destination, admission: as for `staging.fetch`.
    :param undercloud_registry: as for `worklist.build`.
    :raises InputError: when the packages or the names cannot be used, or a
        new image exists already or is being made; nothing was done.
    """
    tag = request.tag or now.strftime("hotfix-%Y%m%d%H%M%S")
    table = catalog.load(_release(request))
    place = Location.parse(request.registry_url or undercloud_registry())
    if not place.is_registry:
        raise errors.InvalidArgument(
            f"{request.registry_url}: no registry, which nodes could pull from"
        )
    if request.output_env_file:
        files.check(request.output_env_file)
    packages = rpms.of_directory(request.rpms_path)
    buildah = Buildah()
    remove_abandoned(buildah)
    targets = hotfix_targets.targets(request.images, tag, buildah)
    with reserved(buildah, [target.result for target in targets]):
        hotfix_targets.check(targets, buildah)
        done, failures = _change(
            targets,
            packages,
            buildah,
            source=source,
            destination=destination,
            admission=admission,
            observer=observer,
        )
    images = [
        _hotfixed(target, done[target.result], table, place)
        for target in targets
        if target.result in done
    ]
    if images:
        _tell_unused(packages, done.values(), observer)
    result = HotfixResult(images, _parameters(images, observer), failures)
    if request.output_env_file and result.parameters:
        text = parameters.render(result.parameters, request.header)
        files.write(request.output_env_file, text, backup=True)
    return result


def _change(
    targets: Sequence[Target],
    packages: Sequence[RpmFile],
    buildah: Buildah,
    *,
    source: Callable[[Reference], base.ReadableStore],
    destination: Callable[[str, str], base.Store],
    admission: Callable[[Reference], Admits | None],
    observer: Observer,
) -> tuple[dict[str, tuple[Change, ...]], list[errors.ImagePrepError]]:
    """Fetch what is not there, and change the images; see `_Run.all`."""
    with temporary() as directory:
        scratch = str(directory)
        _gather(packages, scratch)
        remote = [target for target in targets if target.local is None]
        fetched = staging.fetch(
            [target.reference for target in remote],
            scratch,
            source=source,
            destination=destination,
            admission=admission,
            observer=observer,
        )
        hotfixer = Hotfixer(buildah, packages, scratch, observer)
        return _Run(buildah, hotfixer, observer).all(
            targets,
            {t.result: f for t, f in zip(remote, fetched, strict=True)},
        )


class _Run:
    """The part of a hotfix that changes images."""

    def __init__(
        self, buildah: Buildah, hotfixer: Hotfixer, observer: Observer
    ) -> None:
        self._buildah = buildah
        root = Path(str((buildah.info().get("store") or {}).get("GraphRoot")))
        self._diff_ids = DiffIdCheck(disk.free_space(root), str(root))
        self._hotfixer = hotfixer
        self._observer = observer

    def all(
        self,
        targets: Sequence[Target],
        places: Mapping[str, staging.Fetched],
    ) -> tuple[dict[str, tuple[Change, ...]], list[errors.ImagePrepError]]:
        """Change the images, several at once.

        :param places: where those are that are not in local storage, by
            the names of the new images.
        :returns: the changes of those that worked, by the names of the new
            images, and the errors of the others.
        """
        done, failures = {}, []
        self._observer.phase(Phase.HOTFIX, len(targets))
        with futures.ThreadPoolExecutor(_AT_ONCE) as threads:
            running = [
                threads.submit(self._one, target, places.get(target.result))
                for target in targets
            ]
            try:
                futures.wait(running)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                # What waits for a program goes on now, and tidies up.
                self._buildah.stop()
                raise
        for target, each in zip(targets, running, strict=True):
            try:
                done[target.result] = each.result()
            except errors.ImagePrepError as error:
                failures.append(error)
        return done, failures

    def _one(
        self, target: Target, fetched: staging.Fetched | None
    ) -> tuple[Change, ...]:
        outcome = ImageOutcome.FAILED
        self._observer.image_started(target.image)
        try:
            with self._local(target, fetched) as local:
                changes = self._hotfixer.apply(
                    target.image, local, target.result
                )
            outcome = ImageOutcome.HOTFIXED
        finally:
            self._observer.image_finished(target.image, outcome)
        return changes

    @contextlib.contextmanager
    def _local(
        self, target: Target, fetched: staging.Fetched | None
    ) -> Iterator[LocalImage]:
        """The image in local storage; if need be only for now."""
        if fetched is None:
            local = _existing(target.image, target.local)
            self._buildah.check_layers(local, target.image)
            yield local
            return
        if fetched.error is not None:
            raise fetched.error
        identity = image_id(Path(fetched.layout), fetched.tag)
        found = self._buildah.image(identity) if identity else None
        # What another has there for now may be gone in a moment.
        if (
            found
            and not (found.names and all(map(is_temporary, found.names)))
            and self._buildah.check_layers(found, target.image)
        ):
            # It may have no name: it would go with one that is taken away.
            yield found
            return
        self._diff_ids.check_stored(fetched.store, fetched.tag, target.image)
        # Not its own name, which may be that of another image here.
        name = temporary_name()
        try:
            self._buildah.pull(fetched.layout, fetched.tag, name)
            yield _existing(target.image, self._buildah.image(name))
        finally:
            # Its layers stay, the result has them.
            self._buildah.remove(name)


def _existing(image: str, found: LocalImage | None) -> LocalImage:
    """What was found of an image.

    :raises LocalStorageError: when that is nothing.
    """
    if found is None:
        raise errors.LocalStorageError(f"{image}: is not in local storage")
    return found


def _gather(packages: Sequence[RpmFile], scratch: str) -> None:
    """Copy the packages to where containers can read them.

    The user's may have links that lead nowhere from there, and names that
    rpm would take for patterns; and is not to get another label.
    """
    directory = os.path.join(scratch, PACKAGES)
    os.mkdir(directory)
    for package in packages:
        target = os.path.join(directory, package.file_name)
        try:
            shutil.copyfile(package.path, target)
        except OSError as error:
            reason = (error.strerror or "unknown reason").lower()
            raise errors.InvalidFile(
                package.path, f"cannot be copied to {scratch}: {reason}"
            ) from error


def _hotfixed(
    target: Target,
    changes: Sequence[Change],
    table: catalog.Catalog,
    place: Location,
) -> Hotfixed:
    pushed = Reference.parse(target.result)
    repository = place.repository(pushed.repository)
    return Hotfixed(
        image=target.image,
        result=target.result,
        target=f"{place.registry}/{repository}:{pushed.tag}",
        changes=[str(change) for change in changes],
        packages=[change.rpm.name for change in changes],
        parameters=table.parameters_of(pushed.repository.rpartition("/")[2]),
    )


def _tell_unused(
    packages: Iterable[RpmFile],
    done: Iterable[Sequence[Change]],
    observer: Observer,
) -> None:
    used = {change.rpm for changes in done for change in changes}
    for package in packages:
        if package not in used:
            observer.warning(f"{package}: was installed into no image")


def _parameters(
    images: Sequence[Hotfixed], observer: Observer
) -> dict[str, str]:
    """Heat parameter to image; who has none, or shares one, is told of."""
    found: dict[str, str] = {}
    for image in images:
        if not image.parameters:
            observer.warning(
                f"{image.result}: no heat parameter of the release names"
                " this image"
            )
        for name in image.parameters:
            if found.setdefault(name, image.target) != image.target:
                observer.warning(
                    f"{image.result}: {name} names {found[name]} already"
                )
    return found
