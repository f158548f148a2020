"""Installing RPM files into one image.

All is done by the image's own rpm, in a working container: it knows its
database, and has the last word on what fits. dnf would not know more: what
it has in front of rpm are repositories, and a hotfix comes without them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence

from imageprep_client import errors
from imageprep_client.buildah import (
    Buildah,
    Container,
    Finished,
    is_abandoned,
    own_name,
)
from imageprep_client.modify import rpms
from imageprep_client.modify.evr import Evr
from imageprep_client.modify.rpmfile import RpmFile
from imageprep_client.modify.rpms import (
    NOARCH,
    Applicability,
    Change,
    Installed,
)
from imageprep_client.observer import Observer

#: The label that says what was changed: packages, separated by blanks.
LABEL = "hotfix"

_FORMAT = r"%{NAME}\t%{EPOCHNUM}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n"
_ENVIRONMENT = {"LC_ALL": "C"}
_ROOT = "0:0"
_LOCALHOST = "localhost/"
_NO_PROGRAM = re.compile(r"executable file.* not found")
# "libfoo.so.1()(64bit) is needed by bar-1-1.x86_64", and the same with a
# version behind what is needed.
_NEEDED = re.compile(r"^\s*(\S+)(.*) is needed by (.+)$", re.MULTILINE)
# What rpm -V says of a file: what differs, its kind, its name.
_DIFFERENCE = re.compile(r"^(missing|\S{8,9}) +(?:([acdglr]) )?(/.*)$")
# Files that are made to be changed: configuration, and ghosts.
_CHANGEABLE = "cg"
# What is said by whoever stands between rpm and us.
_CHATTER = ("subprocess exited", "Error: exit status", "exit status", "rpm: ")


@dataclasses.dataclass(frozen=True, slots=True)
class Hotfixer:
    """Installs a set of RPM files into images; threads may share it.

    :ivar directory: where the files are, by their `RpmFile.file_name`.
    :ivar observer: is told what changes before it does, and of warnings.
    """

    buildah: Buildah
    rpms: Sequence[RpmFile]
    directory: str
    observer: Observer

    def apply(self, image: str, local: str, result: str) -> tuple[Change, ...]:
        """Install those files that are newer than what an image has.

        Packages of the set that are not in the image are installed when
        others need them. The result is one layer on the image; it gets its
        name when what is installed in it was read back and compared. When
        this raises there is no result, nor a trace of it.

        :param image: what the user calls it.
        :param local: its name or ID in local storage.
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
        self, image: str, local: str, result: str
    ) -> tuple[Change, ...]:
        found = self.buildah.image(local)
        if found is None:
            raise errors.ModifyError(f"{image}: is not in local storage")
        rpms.check_architecture(self.rpms, found.architecture)
        temporary = temporary_name()
        try:
            with self.buildah.container(found.id) as container:
                changes = self._install(container, image)
                new = " ".join(str(change.rpm) for change in changes)
                identity = container.commit(temporary, **{LABEL: new})
            self._check(identity, image, changes)
            self.buildah.tag(identity, result)
        finally:
            self.buildah.remove(temporary)
        return changes

    def _install(self, container: Container, image: str) -> tuple[Change, ...]:
        rpm = _Rpm(container, image)
        found = rpms.applicability(self.rpms, rpm.installed())
        self._tell(image, found)
        if not found.changes:
            raise errors.ModifyError(
                f"{image}: no package applies: {_reasons(found)}",
                hint="each package has to be in the image, older",
            )
        with rpm.files(self.directory):
            changes = rpm.resolve(found.changes, found.absent)
            told = ", ".join(map(str, changes))
            self.observer.note(f"{image}: {told}")
            for warning in rpm.upgrade(changes):
                self.observer.warning(f"{image}: {warning}")
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
        with self.buildah.container(identity) as container:
            rpm = _Rpm(container, image)
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
    names = [name for image in buildah.images() for name in image.names]
    buildah.remove(*(name for name in names if _is_abandoned(name)))


def _is_abandoned(name: str) -> bool:
    if not name.startswith(_LOCALHOST):
        return False
    return is_abandoned(name.removeprefix(_LOCALHOST).partition(":")[0])


class _Rpm:
    """The rpm of a working container."""

    def __init__(self, container: Container, image: str) -> None:
        self._container = container
        self._image = image
        self._volumes: tuple[str, ...] = ()
        self._place = ""

    def installed(self) -> list[Installed]:
        """All packages.

        :raises ModifyError: when there is no rpm, or it fails.
        """
        finished = self._rpm("-qa", "--qf", _FORMAT)
        if finished.status and _NO_PROGRAM.search(finished.stderr):
            raise errors.ModifyError(
                f"{self._image}: has no rpm, and so no packages to replace",
                hint="build an image of your own on it",
            )
        if finished.status:
            raise self._refusal("cannot list its packages", finished)
        rows = map(str.split, finished.stdout.splitlines())
        return [
            Installed(name, Evr(int(epoch), version, release), architecture)
            for name, epoch, version, release, architecture in rows
        ]

    @contextlib.contextmanager
    def files(self, directory: str) -> Iterator[None]:
        """Have the files of a directory in the container meanwhile."""
        self._place = f"/.{own_name()}"
        # Without the z a host with SELinux denies them to the container.
        self._volumes = (f"{directory}:{self._place}:ro,z",)
        try:
            yield
        finally:
            self._volumes = ()
            # Where it was mounted; nothing was written there.
            with (
                self._container.mount() as root,
                contextlib.suppress(FileNotFoundError),
            ):
                (root / self._place[1:]).rmdir()

    def resolve(
        self, changes: Iterable[Change], others: Iterable[RpmFile]
    ) -> tuple[Change, ...]:
        """The changes, and those others that they need; nothing is changed.

        :raises ModifyError: when needs are unmet, or rpm refuses the files.
        """
        chosen, left = list(changes), list(others)
        while (finished := self._upgrade(chosen, "--test")).status:
            needs = _NEEDED.findall(finished.stderr)
            if not needs:
                raise self._refusal("rpm refuses the packages", finished)
            more = _providers([name for name, *_ in needs], left, chosen)
            if not more:
                raise errors.ModifyError(
                    f"{self._image}: packages are missing: "
                    + "; ".join(
                        f"{n}{v} is needed by {p}" for n, v, p in needs
                    ),
                    hint="put packages that provide them into the directory",
                )
            left = [rpm for rpm in left if rpm not in more]
            chosen += [Change(rpm, None) for rpm in sorted(more, key=str)]
        return tuple(sorted(chosen, key=lambda change: change.rpm.name))

    def upgrade(self, changes: Iterable[Change]) -> list[str]:
        """Install, as root.

        :returns: the warnings of rpm, such as of a scriptlet that failed.
        """
        finished = self._upgrade(changes)
        if finished.status:
            raise self._refusal("rpm fails", finished)
        return _lines(finished.stderr.replace(f"{self._place}/", ""))

    def differences(self, changes: Iterable[Change]) -> list[str]:
        """The files of changed packages that are not as packaged.

        Owner, mode and times may differ, as an image has its own reasons
        for these; and configuration that was changed is kept by rpm.
        """
        names = (f"{c.rpm.name}.{c.rpm.architecture}" for c in changes)
        finished = self._rpm("-V", "--nodeps", "--noscripts", *names)
        if not finished.status:
            return []
        lines = finished.stdout.splitlines()
        found = [match for line in lines if (match := _DIFFERENCE.match(line))]
        if not found:
            raise self._refusal("cannot verify its packages", finished)
        return [
            f"{path} {'is missing' if how == 'missing' else 'differs'}"
            for how, kind, path in (match.groups() for match in found)
            if (kind or "-") not in _CHANGEABLE
            and (how == "missing" or {"5", "L"} & set(how))
        ]

    def _upgrade(self, changes: Iterable[Change], *options: str) -> Finished:
        names = (change.rpm.file_name for change in changes)
        paths = (f"{self._place}/{name}" for name in names)
        return self._rpm("-U", *options, *paths)

    def _rpm(self, *words: str) -> Finished:
        return self._container.attempt(
            "rpm",
            *words,
            volumes=self._volumes,
            user=_ROOT,
            env=_ENVIRONMENT,
        )

    def _refusal(self, what: str, finished: Finished) -> errors.ModifyError:
        lines = _lines(f"{finished.stdout}\n{finished.stderr}")
        told = "; ".join(lines) or f"exit status {finished.status}"
        told = told.replace(f"{self._place}/", "") if self._place else told
        return errors.ModifyError(f"{self._image}: {what}: {told}")


def _providers(
    needs: Iterable[str], rpms: Iterable[RpmFile], chosen: Iterable[Change]
) -> set[RpmFile]:
    """One package for each need, preferably of an architecture chosen."""
    known = {change.rpm.architecture for change in chosen}
    known.add(NOARCH)
    preferred = sorted(rpms, key=lambda rpm: rpm.architecture not in known)
    return {
        rpm
        for need in needs
        for rpm in [next((r for r in preferred if need in r.provides), None)]
        if rpm
    }


def _as_installed(rpm: RpmFile) -> Installed:
    return Installed(rpm.name, rpm.evr, rpm.architecture)


def _reasons(found: Applicability) -> str:
    reasons = [f"{rpm} is there already" for rpm in found.present]
    reasons += [f"{change.old} is newer" for change in found.older]
    reasons += [f"{rpm.name} is not in it" for rpm in found.absent]
    return ", ".join(reasons)


def _lines(told: str) -> list[str]:
    """What rpm said, without what others did."""
    lines = (line.strip() for line in told.splitlines())
    return [line for line in lines if line and not line.startswith(_CHATTER)]
