"""A set of RPM files, compared with the packages of an image.

No program is started: the set is read from its directory, and the installed
packages are given.
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

# Architectures of packages by platform; rpm decides for other platforms.
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
    """A package that is installed in an image."""

    name: str
    evr: Evr
    architecture: str

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.architecture}"


@dataclasses.dataclass(frozen=True, slots=True)
class Change:
    """A package to install, or that was installed.

    :ivar old: the package that it replaces; None for a dependency.
    """

    rpm: RpmFile
    old: Installed | None

    def __str__(self) -> str:
        old = f"{self.old.evr} -> " if self.old else "new: "
        return f"{self.rpm.name} {old}{self.rpm.evr}"


@dataclasses.dataclass(frozen=True, slots=True)
class Applicability:
    """A set compared with one image; each file is in one of the groups.

    :ivar changes: files that are newer than the installed package.
    :ivar present: files whose version is installed.
    :ivar older: files of which a newer version is installed, with it.
    :ivar absent: files whose package is not installed.
    """

    changes: tuple[Change, ...]
    present: tuple[RpmFile, ...]
    older: tuple[Change, ...]
    absent: tuple[RpmFile, ...]


def of_directory(path: str) -> tuple[RpmFile, ...]:
    """Read and verify the files ``*.rpm`` of a directory; return them sorted.

    :raises InvalidArgument: when there is none, two files have the same
        package, or several files cannot be used.
    :raises InvalidFile: when one file cannot be used.
    """
    rpms: list[RpmFile] = []
    size = 0
    broken: list[errors.InvalidFile] = []
    for file in _paths(path):
        try:
            rpms.append(rpmfile.read(file))
        except errors.InvalidFile as error:
            broken.append(error)
            continue
        size += rpms[-1].names_size
        if size > rpmfile.MAX_NAMES:
            raise errors.InvalidArgument(
                f"{path}: the packages up to {file} have too many files",
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
    _check_distinct(rpms)
    return tuple(sorted(rpms, key=lambda rpm: (rpm.name, rpm.architecture)))


def check_architecture(rpms: Iterable[RpmFile], architecture: str) -> None:
    """Check that every package can run on a platform.

    :param architecture: of the image as in its config, such as ``amd64``.
    :raises InvalidArgument: with the packages that cannot.
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
            f"the image is of {architecture}, but other architectures have:"
            f" {', '.join(wrong)}",
            hint="keep the packages of each architecture in a directory of"
            " their own",
        )


def applicability(
    rpms: Sequence[RpmFile], installed: Iterable[Installed]
) -> Applicability:
    """Compare a set with the packages of an image.

    A package is another version of an installed one if the names are equal
    and the architectures are equal or one of them is ``noarch``, because
    packages become or cease to be ``noarch`` between versions.

    :param installed: may have several versions of a name.
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
        raise errors.InvalidArgument(
            f"{directory}: {errors.reason(error)}",
            hint="name a directory with RPM files in it",
        ) from error
    if not names:
        raise errors.InvalidArgument(
            f"{directory}: no file *.rpm in this directory",
            hint="put the packages of the hotfix into it; subdirectories are"
            " not searched",
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
                hint="keep one of them",
            )


def _is_same(rpm: RpmFile, other: Installed) -> bool:
    architectures = {rpm.architecture, other.architecture}
    return len(architectures) == 1 or NOARCH in architectures
