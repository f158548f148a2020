"""Hotfixes: make new local images by installing packages into images."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent import futures
from pathlib import Path

from imageprep_client import catalog, errors
from imageprep_client.container.hotfix import staging, targets
from imageprep_client.container.hotfix.targets import Target
from imageprep_client.container.request import CopyStores
from imageprep_client.heat import environment, parameters
from imageprep_client.host import disk, files
from imageprep_client.modify import imagerpm
from imageprep_client.modify.home import reserved
from imageprep_client.modify.hotfix import (
    Hotfixer,
    is_temporary,
    remove_abandoned,
    temporary_name,
)
from imageprep_client.modify.imagerpm import PACKAGES, Bounds
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
from imageprep_client.stores.diffids import DiffIdCheck

# Each image keeps programs and disks busy.
_AT_ONCE = 4


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HotfixRequest:
    """A set of packages to install into images.

    :ivar images: ``[registry/]repository[:tag]``, each taken from local
        storage or otherwise from its registry; with ``docker://`` always from
        the registry, with ``containers-storage:`` never.
    :ivar rpms_path: the directory of the packages.
    :ivar tag: the suffix of the new tags after a hyphen; None: ``hotfix-``
        and the time.
    :ivar registry_url: the registry that the new images will be pushed to;
        None: that of the undercloud.
    :ivar release: the release whose table has the parameters; None: that in
        the header of an environment file, or else the default.
    :ivar environment_files: heat environments of the deployment, for the
        release and the parameters of roles.
    :ivar output_env_file: the file for the parameters, or None.
    :ivar rpm_timeout: seconds that one call of rpm in a container may take.
    :ivar image_timeout: seconds in which an image may be fetched; None: any
        time.
    """

    images: Sequence[str]
    rpms_path: str
    tag: str | None = None
    registry_url: str | None = None
    release: str | None = None
    environment_files: Sequence[str] = ()
    output_env_file: str | None = None
    rpm_timeout: float = imagerpm.SECONDS
    image_timeout: float | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Hotfixed:
    """One image that was changed.

    :ivar image: the name as the user gave it.
    :ivar result: the name of the new image in local storage.
    :ivar target: the name that nodes use once it is pushed.
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
    """The results of all images.

    :ivar images: the changed images, in the order of the request.
    :ivar parameters: the name of the image for each heat parameter.
    :ivar failures: one error for each image that failed.
    """

    images: Sequence[Hotfixed]
    parameters: Mapping[str, str]
    failures: Sequence[errors.ImagePrepError]


def hotfix(
    request: HotfixRequest,
    *,
    stores: CopyStores,
    undercloud_registry: Callable[[], str],
    observer: Observer,
    now: datetime.datetime,
    header: Sequence[str] = (),
) -> HotfixResult:
    """Install packages into images; see `modify.hotfix` for one image.

    The packages are read and checked first. Images that are not in local
    storage are pulled, and removed at the end. An image in local storage is
    used even if its registry has another one. A failed image does not stop
    the others. An interrupted run leaves only the images that were ready.

    :param undercloud_registry: as for `worklist.build`.
    :param header: comment lines for the file of the parameters.
    :raises InputError: when the packages or the names cannot be used, or a
        new image exists or is being made; nothing was changed.
    """
    tag = request.tag or now.strftime("hotfix-%Y%m%d%H%M%S")
    loaded = [environment.load(path) for path in request.environment_files]
    deployment = environment.merge(loaded)
    table = catalog.load(
        request.release
        or environment.release_of(loaded)
        or catalog.DEFAULT_RELEASE
    )
    place = Location.parse(request.registry_url or undercloud_registry())
    if not place.is_registry:
        raise errors.InvalidArgument(
            f"{request.registry_url}: not a registry that nodes can pull from"
        )
    if request.output_env_file:
        files.check(request.output_env_file)
    packages = rpms.of_directory(request.rpms_path)
    buildah = Buildah()
    remove_abandoned(buildah)
    wanted = targets.find(request.images, tag, buildah)
    with reserved(buildah, [target.result for target in wanted]):
        targets.check(wanted, buildah)
        done, failures = _change(
            request, wanted, packages, buildah, stores, observer
        )
    images = [
        _hotfixed(target, done[target.result], table, place)
        for target in wanted
        if target.result in done
    ]
    if images:
        _tell_unused(packages, done.values(), observer)
    result = HotfixResult(images, _parameters(images, observer), failures)
    for warning in parameters.overridden(result.parameters, deployment):
        observer.warning(warning)
    if request.output_env_file and result.parameters:
        text = parameters.render(result.parameters, header)
        files.write(request.output_env_file, text, backup=True)
    return result


def _change(
    request: HotfixRequest,
    wanted: Sequence[Target],
    packages: Sequence[RpmFile],
    buildah: Buildah,
    stores: CopyStores,
    observer: Observer,
) -> tuple[dict[str, tuple[Change, ...]], list[errors.ImagePrepError]]:
    """Fetch the images that are not local, and change all images."""
    with temporary() as directory:
        scratch = str(directory)
        _gather(packages, scratch)
        remote = [target for target in wanted if target.local is None]
        fetched = staging.fetch(
            [target.reference for target in remote],
            scratch,
            stores,
            observer,
            request.image_timeout,
        )
        root = Path(str((buildah.info().get("store") or {}).get("GraphRoot")))
        reserve = disk.Reserve(root, directory)
        bounds = Bounds(request.rpm_timeout, reserve.check)
        hotfixer = Hotfixer(buildah, packages, scratch, observer, bounds)
        return _Run(buildah, root, hotfixer, observer).all(
            wanted, {t.result: f for t, f in zip(remote, fetched, strict=True)}
        )


class _Run:
    """Changes the images of one hotfix."""

    def __init__(
        self,
        buildah: Buildah,
        root: Path,
        hotfixer: Hotfixer,
        observer: Observer,
    ) -> None:
        self._buildah = buildah
        self._diff_ids = DiffIdCheck(disk.free_space(root), str(root))
        self._hotfixer = hotfixer
        self._observer = observer

    def all(
        self, wanted: Sequence[Target], places: Mapping[str, staging.Fetched]
    ) -> tuple[dict[str, tuple[Change, ...]], list[errors.ImagePrepError]]:
        """Change several images at once.

        :param places: the fetched images, by the names of the new images.
        :returns: the changes of each successful image, by the name of the new
            image, and the errors of the others.
        """
        done, failures = {}, []
        self._observer.phase(Phase.HOTFIX, len(wanted))
        with futures.ThreadPoolExecutor(_AT_ONCE) as threads:
            running = [
                threads.submit(self._one, target, places.get(target.result))
                for target in wanted
            ]
            try:
                futures.wait(running)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                # Threads that wait for a program continue and clean up.
                self._buildah.stop()
                raise
        for target, future in zip(wanted, running, strict=True):
            try:
                done[target.result] = future.result()
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
        """The image in local storage, pulled for the context if necessary."""
        if fetched is None:
            local = _existing(target.image, target.local)
            self._buildah.check_layers(local, target.image)
            yield local
            return
        if fetched.error is not None:
            raise fetched.error
        identity = image_id(Path(fetched.layout), fetched.tag)
        same = self._buildah.image(identity) if identity else None
        # An image with temporary names only may be removed by its run.
        if (
            same
            and not (same.names and all(map(is_temporary, same.names)))
            and self._buildah.check_layers(same, target.image)
        ):
            # A nameless image would be removed with a temporary name.
            yield same
            return
        self._diff_ids.check_stored(fetched.store, fetched.tag, target.image)
        # Its own name may be that of another image in local storage.
        name = temporary_name()
        try:
            self._buildah.pull(fetched.layout, fetched.tag, name)
            yield _existing(target.image, self._buildah.image(name))
        finally:
            # Its layers stay, because the result has them.
            self._buildah.remove(name)


def _existing(image: str, local: LocalImage | None) -> LocalImage:
    """Require that an image is in local storage.

    :raises LocalStorageError: when it is not.
    """
    if local is None:
        raise errors.LocalStorageError(f"{image}: is not in local storage")
    return local


def _gather(packages: Sequence[RpmFile], scratch: str) -> None:
    """Copy the packages to a directory that containers can read.

    Links in the user's directory may lead nowhere inside a container, rpm
    takes some names for patterns, and the directory keeps its SELinux label.
    """
    directory = os.path.join(scratch, PACKAGES)
    os.mkdir(directory)
    for package in packages:
        target = os.path.join(directory, package.file_name)
        try:
            shutil.copyfile(package.path, target)
        except OSError as error:
            raise errors.InvalidFile(
                package.path,
                f"cannot be copied to {scratch}: {errors.reason(error)}",
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
    """Map heat parameters to images; warn about missing or shared ones."""
    named: dict[str, str] = {}
    for image in images:
        if not image.parameters:
            observer.warning(
                f"{image.result}: no heat parameter of the release names"
                " this image"
            )
        for name in image.parameters:
            if named.setdefault(name, image.target) != image.target:
                observer.warning(
                    f"{image.result}: {name} names {named[name]} already"
                )
    return named
