"""A set of RPM files, and what of it an image needs.

Nothing here starts a program: the set is read from its directory, and what
an image has is told.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Sequence

from imageprep_client import errors
from imageprep_client.rpm import rpmfile
from imageprep_client.rpm.evr import Evr
from imageprep_client.rpm.rpmfile import RpmFile

NOARCH = "noarch"

# Which packages run where; of a platform that is not here rpm decides.
_X86 = ("i386", "i486", "i586", "i686")
_RUNS = {
    "386": _X86,
    "amd64": (
        *_X86,
        *(f"x86_64{level}" for level in ("", "_v2", "_v3", "_v4")),
    ),
    "arm64": ("aarch64",),
    "ppc64le": ("ppc64le",),
    "riscv64": ("riscv64",),
    "s390x": ("s390x",),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Installed:
    """A package that an image has."""

    name: str
    evr: Evr
    architecture: str

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.architecture}"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A package that will be, or was, installed.

    :ivar old: what it replaces; None: another package needs it.
    """

    rpm: RpmFile
    old: Installed | None

    def __str__(self) -> str:
        old = f"{self.old.evr} -> " if self.old else "new: "
        return f"{self.rpm.name} {old}{self.rpm.evr}"


@dataclasses.dataclass(frozen=True, slots=True)
class Applicability:
    """What a set means for one image; each file is in one of these.

    :ivar changes: those that are newer than what is installed.
    :ivar present: those that are installed at that very version.
    :ivar older: those of which a newer version is installed, with it.
    :ivar absent: those that are not installed at all.
    """

    changes: tuple[Change, ...]
    present: tuple[RpmFile, ...]
    older: tuple[Change, ...]
    absent: tuple[RpmFile, ...]


def of_directory(path: str) -> tuple[RpmFile, ...]:
    """The files ``*.rpm`` of a directory, each read and checked, sorted.

    :raises InvalidArgument: when there are none, two are the same package,
        or several cannot be used.
    :raises InvalidFile: when one cannot be used.
    """
    found: list[RpmFile] = []
    size = 0
    broken: list[errors.InvalidFile] = []
    for each in _paths(path):
        try:
            found.append(rpmfile.read(each))
        except errors.InvalidFile as error:
            broken.append(error)
            continue
        size += found[-1].names_size
        if size > rpmfile.MAX_NAMES:
            raise errors.InvalidArgument(
                f"{path}: the packages up to {each} have too many files",
                hint="keep fewer packages in the directory",
            )
    if len(broken) == 1:
        raise broken[0]
    if broken:
        hints = dict.fromkeys(error.hint for error in broken if error.hint)
        raise errors.InvalidArgument(
            f"{path}: {len(broken)} files cannot be used: "
            + "; ".join(map(str, broken)),
            hint="; ".join(hints) or None,
        )
    _check_distinct(found)
    return tuple(sorted(found, key=lambda rpm: (rpm.name, rpm.architecture)))


def check_architecture(rpms: Iterable[RpmFile], architecture: str) -> None:
    """See that every package can run on a platform.

    :param architecture: of the image, as its config has it: ``amd64``.
    :raises InvalidArgument: naming those that cannot.
    """
    runs = _RUNS.get(architecture)
    if runs is None:
        return
    wrong = [
        f"{rpm.path} ({rpm.architecture})"
        for rpm in rpms
        if rpm.architecture != NOARCH and rpm.architecture not in runs
    ]
    if wrong:
        raise errors.InvalidArgument(
            f"the image is of {architecture}, and of another architecture"
            f" are: {', '.join(wrong)}",
            hint="keep the packages of each architecture in a directory of"
            " their own",
        )


def applicability(
    rpms: Sequence[RpmFile], installed: Iterable[Installed]
) -> Applicability:
    """Compare a set with what an image has.

    A package is another version of an installed one when it has its name,
    and its architecture or one of the two has none: packages become, and
    cease to be, of no architecture from one version to the next.

    :param installed: may have several versions of one name.
    """
    by_name: dict[str, list[Installed]] = {}
    for package in installed:
        by_name.setdefault(package.name, []).append(package)
    changes, present, older, absent = [], [], [], []
    for rpm in rpms:
        old = max(
            (x for x in by_name.get(rpm.name, ()) if _is_same(rpm, x)),
            key=lambda x: x.evr,
            default=None,
        )
        if old is None:
            absent.append(rpm)
        elif old.evr < rpm.evr:
            changes.append(Change(rpm, old))
        elif old.evr == rpm.evr:
            present.append(rpm)
        else:
            older.append(Change(rpm, old))
    return Applicability(
        tuple(changes), tuple(present), tuple(older), tuple(absent)
    )


def _paths(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            names = sorted(
                entry.name
                for entry in entries
                if entry.name.endswith(".rpm") and entry.name[0] != "."
            )
    except OSError as error:
        reason = (error.strerror or "unknown reason").lower()
        raise errors.InvalidArgument(
            f"{directory}: {reason}",
            hint="name a directory with RPM files in it",
        ) from error
    if not names:
        raise errors.InvalidArgument(
            f"{directory}: no file *.rpm in this directory",
            hint="put the packages of the hotfix into it; directories in it"
            " are not looked into",
        )
    return [os.path.join(directory, name) for name in names]


def _check_distinct(rpms: Iterable[RpmFile]) -> None:
    seen: dict[tuple[str, str], RpmFile] = {}
    for rpm in rpms:
        other = seen.setdefault((rpm.name, rpm.architecture), rpm)
        if other is not rpm:
            raise errors.InvalidArgument(
                f"{other.path} and {rpm.path}: both are the package"
                f" {rpm.name}.{rpm.architecture} ({other.evr}, {rpm.evr})",
                hint="keep the one that is wanted",
            )


def _is_same(rpm: RpmFile, other: Installed) -> bool:
    architectures = {rpm.architecture, other.architecture}
    return len(architectures) == 1 or NOARCH in architectures
