"""Install RPM files into one image.

The image's own rpm does all of it in a working container: it knows its
database and decides which packages fit. dnf would add nothing but
repositories, and a hotfix does not use any.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.modify import imagerpm
from imageprep_client.modify.imagerpm import Bounds, ImageRpm
from imageprep_client.observer import Observer
from imageprep_client.programs.buildah import (
    Buildah,
    Container,
    LocalImage,
    is_abandoned,
    is_own,
    own_name,
)
from imageprep_client.rpm import rpms
from imageprep_client.rpm.rpmfile import RpmFile
from imageprep_client.rpm.rpms import Applicability, Change, Installed

#: The label that names the changed packages, separated by blanks.
LABEL = "hotfix"

_LOCALHOST = "localhost/"


@dataclasses.dataclass(frozen=True, slots=True)
class Hotfixer:
    """Installs a set of RPM files into images; threads may share it.

    :ivar directory: the directory of the files, see `imagerpm.opened`.
    :ivar observer: receives the changes before they are made, and warnings.
    :ivar bounds: the limits of each call of rpm.
    """

    buildah: Buildah
    rpms: Sequence[RpmFile]
    directory: str
    observer: Observer
    bounds: Bounds

    def apply(
        self, image: str, local: LocalImage, result: str
    ) -> tuple[Change, ...]:
        """Install the files that are newer than the packages of an image.

        Packages of the set that are not in the image are installed if others
        depend on them. The result has one layer more than the image. It is
        named only after its packages were read back and compared. If this
        raises an error, nothing of the result is left.

        :param image: the name as the user gave it.
        :param local: the image in local storage.
        :param result: the name of the result; it is taken from another image
            that has it.
        :returns: the changes, sorted by name.
        :raises ModifyError: with the name of the image, when no package
            applies, a package does not fit, or the result is wrong.
        """
        try:
            return self._apply(image, local, result)
        except (
            errors.LocalStorageError,
            errors.NoSpace,
            errors.InputError,
        ) as error:
            raise errors.ModifyError(
                f"{image}: {error}", hint=error.hint
            ) from error

    def _apply(
        self, image: str, local: LocalImage, result: str
    ) -> tuple[Change, ...]:
        rpms.check_architecture(self.rpms, local.architecture)
        temporary = temporary_name()
        try:
            with self.buildah.container(local.id) as container:
                changes = self._install(container, image)
                new = " ".join(str(change.rpm) for change in changes)
                identity = container.commit(temporary, **{LABEL: new})
            self._check(identity, image, changes)
            self.buildah.tag(identity, result)
        finally:
            self.buildah.remove(temporary)
        return changes

    def _install(self, container: Container, image: str) -> tuple[Change, ...]:
        with self._rpm(container, image) as rpm:
            applicable = rpms.applicability(self.rpms, rpm.installed())
            self._tell(image, applicable)
            if not applicable.changes:
                raise errors.ModifyError(
                    f"{image}: no package applies: {_reasons(applicable)}",
                    hint="a package applies if the image has an older version",
                )
            changes = rpm.resolve(applicable.changes, applicable.absent)
            self.observer.note(f"{image}: {', '.join(map(str, changes))}")
            for warning in rpm.upgrade(changes):
                self.observer.warning(f"{image}: {warning}")
            rpm.tidy()
        return changes

    def _rpm(
        self, container: Container, image: str
    ) -> contextlib.AbstractContextManager[ImageRpm]:
        return imagerpm.opened(container, image, self.directory, self.bounds)

    def _tell(self, image: str, applicability: Applicability) -> None:
        for present in applicability.present:
            self.observer.note(f"{image}: {present} is installed already")
        for change in applicability.older:
            self.observer.warning(
                f"{image}: {change.old} stays, it is newer than"
                f" {change.rpm.evr}"
            )

    def _check(
        self, identity: str, image: str, changes: Sequence[Change]
    ) -> None:
        """Compare the packages of the result with the files."""
        with (
            self.buildah.container(identity) as container,
            self._rpm(container, image) as rpm,
        ):
            installed = set(rpm.installed())
            wrong = [
                f"{change.rpm} is not installed"
                for change in changes
                if _as_installed(change.rpm) not in installed
            ]
            wrong.extend(rpm.differences(changes))
        if wrong:
            raise errors.ModifyError(
                f"{image}: the result is not what the packages have:"
                f" {'; '.join(wrong)}",
                hint="look for a scriptlet of a package, or a trigger, that"
                " changes files",
            )


def temporary_name() -> str:
    """Make a name for an image that exists for a short time."""
    return f"{_LOCALHOST}{own_name()}"


def remove_abandoned(buildah: Buildah) -> None:
    """Remove the images that killed runs left behind."""
    names = {name for image in buildah.images() for name in image.names}
    buildah.remove(*filter(_is_abandoned, names))


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` of any process made it."""
    return name.startswith(_LOCALHOST) and is_own(_own_part(name))


def _is_abandoned(name: str) -> bool:
    return name.startswith(_LOCALHOST) and is_abandoned(_own_part(name))


def _own_part(name: str) -> str:
    return name.removeprefix(_LOCALHOST).removesuffix(":latest")


def _as_installed(rpm: RpmFile) -> Installed:
    return Installed(rpm.name, rpm.evr, rpm.architecture)


def _reasons(applicability: Applicability) -> str:
    reasons = [f"{rpm} is installed already" for rpm in applicability.present]
    reasons += [f"{change.old} is newer" for change in applicability.older]
    reasons += [f"{rpm.name} is not in it" for rpm in applicability.absent]
    return ", ".join(reasons)
