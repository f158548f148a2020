"""Installing RPM files into one image.

All is done by the image's own rpm, in a working container: it knows its
database, and has the last word on what fits. dnf would not know more: what
it has in front of rpm are repositories, and a hotfix comes without them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from imageprep_client import errors
from imageprep_client.modify import imagerpm
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

#: The label that says what was changed: packages, separated by blanks.
LABEL = "hotfix"

_LOCALHOST = "localhost/"


@dataclasses.dataclass(frozen=True, slots=True)
class Hotfixer:
    """Installs a set of RPM files into images; threads may share it.

    :ivar directory: where the files are, see `imagerpm.opened`.
    :ivar observer: is told what changes before it does, and of warnings.
    """

    buildah: Buildah
    rpms: Sequence[RpmFile]
    directory: str
    observer: Observer

    def apply(
        self, image: str, local: LocalImage, result: str
    ) -> tuple[Change, ...]:
        """Install those files that are newer than what an image has.

        Packages of the set that are not in the image are installed when
        others need them. The result is one layer on the image; it gets its
        name when what is installed in it was read back and compared. When
        this raises there is no result, nor a trace of it.

        :param image: what the user calls it.
        :param local: what it is in local storage.
        :param result: the name of the result; an image may lose it.
        :returns: what is changed, sorted by name.
        :raises ModifyError: naming the image, when nothing applies or
            something does not fit, or the result is not what it should be.
        """
        try:
            return self._apply(image, local, result)
        except (errors.LocalStorageError, errors.InputError) as error:
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
        with imagerpm.opened(container, image, self.directory) as rpm:
            found = rpms.applicability(self.rpms, rpm.installed())
            self._tell(image, found)
            if not found.changes:
                raise errors.ModifyError(
                    f"{image}: no package applies: {_reasons(found)}",
                    hint="each package has to be in the image, older",
                )
            changes = rpm.resolve(found.changes, found.absent)
            self.observer.note(f"{image}: {', '.join(map(str, changes))}")
            for warning in rpm.upgrade(changes):
                self.observer.warning(f"{image}: {warning}")
            rpm.tidy()
        return changes

    def _tell(self, image: str, found: Applicability) -> None:
        for present in found.present:
            self.observer.note(f"{image}: {present} is there already")
        for change in found.older:
            self.observer.warning(
                f"{image}: {change.old} stays, it is newer than"
                f" {change.rpm.evr}"
            )

    def _check(
        self, identity: str, image: str, changes: Sequence[Change]
    ) -> None:
        """Compare what is installed in the result with the files."""
        with (
            self.buildah.container(identity) as container,
            imagerpm.opened(container, image, self.directory) as rpm,
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
    """A name for an image that is not yet, or not long, to be there."""
    return f"{_LOCALHOST}{own_name()}"


def remove_abandoned(buildah: Buildah) -> None:
    """Take away the images that killed runs left behind."""
    names = {name for image in buildah.images() for name in image.names}
    buildah.remove(*filter(_is_abandoned, names))


def is_temporary(name: str) -> bool:
    """Whether `temporary_name` gave it, in any process."""
    return name.startswith(_LOCALHOST) and is_own(_own_part(name))


def _is_abandoned(name: str) -> bool:
    return name.startswith(_LOCALHOST) and is_abandoned(_own_part(name))


def _own_part(name: str) -> str:
    return name.removeprefix(_LOCALHOST).removesuffix(":latest")


def _as_installed(rpm: RpmFile) -> Installed:
    return Installed(rpm.name, rpm.evr, rpm.architecture)


def _reasons(found: Applicability) -> str:
    reasons = [f"{rpm} is there already" for rpm in found.present]
    reasons += [f"{change.old} is newer" for change in found.older]
    reasons += [f"{rpm.name} is not in it" for rpm in found.absent]
    return ", ".join(reasons)
