"""The system that is installed on a disk, and how it boots."""

from __future__ import annotations

import contextlib
import dataclasses
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.baremetal import boot
from imageprep_client.baremetal.boot import Kernel
from imageprep_client.baremetal.disks import partitions, volumes
from imageprep_client.baremetal.disks.disk import Disk
from imageprep_client.baremetal.disks.filetree import FileTree
from imageprep_client.baremetal.disks.partitions import PartitionTable
from imageprep_client.baremetal.disks.volumes import Volume
from imageprep_client.programs.debugfs import ExtReader
from imageprep_client.programs.fsxfs import XfsReader

_OS_RELEASE = ("/etc/os-release", "/usr/lib/os-release")
_DEPLOYMENTS = "/ostree/deploy"
_UNSUPPORTED = {
    "btrfs": "is btrfs, which cannot be read without root rights",
    "luks": "is encrypted (LUKS)",
    "raid": "is a member of a RAID",
    "squashfs": "is squashfs",
}


class Slices:
    """Volumes of a disk as files of a directory, each written once.

    :param limit: bytes that all of them may have.
    """

    def __init__(self, disk: Disk, directory: Path, limit: int) -> None:
        self._disk = disk
        self._directory = directory
        self._left = limit
        self._trees: dict[str, FileTree] = {}
        self._paths: dict[str, Path] = {}

    def path(self, volume: Volume) -> Path:
        """The file that a volume is in."""
        if volume.name not in self._paths:
            size = sum(extent.size for extent in volume.extents)
            self._left -= size
            if self._left < 0:
                raise errors.InvalidFile(
                    self._disk.path,
                    f"its volumes have more bytes than it has: {volume.name}"
                    f" has {size}",
                )
            path = self._directory / f"volume-{len(self._paths)}.raw"
            self._disk.save(volume.extents, path)
            self._paths[volume.name] = path
        return self._paths[volume.name]

    def tree(self, volume: Volume) -> FileTree:
        """The file system of a volume."""
        if volume.name not in self._trees:
            path = self.path(volume)
            reader = (
                XfsReader(path) if volume.kind == "xfs" else ExtReader(path)
            )
            self._trees[volume.name] = FileTree(
                reader, self._disk.path, volume.name
            )
        return self._trees[volume.name]


@dataclasses.dataclass(frozen=True, slots=True)
class Mount:
    """A line of an fstab."""

    source: str
    directory: str
    type: str
    options: tuple[str, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class System:
    """The system that is installed on a disk.

    :ivar root: the volume with the root file system.
    :ivar boot: the one with ``/boot``; None when that is in `root`.
    :ivar deployment: of OSTree, the path of the system in `tree`.
    :ivar release: the content of ``os-release``.
    """

    table: PartitionTable
    volumes: tuple[Volume, ...]
    root: Volume
    tree: FileTree
    boot: Volume | None
    deployment: str
    release: Mapping[str, str]
    mounts: tuple[Mount, ...]
    kernels: tuple[Kernel, ...]

    @property
    def firmware(self) -> tuple[str, ...]:
        return firmware(self.table)


class NoSystem(errors.InvalidFile):
    """There is no system that can be read."""


def firmware(table: PartitionTable) -> tuple[str, ...]:
    """The kinds of firmware that a disk has a boot loader for."""
    types = {partition.type for partition in table.partitions}
    modes = {"uefi": partitions.EFI_SYSTEM, "bios": partitions.BIOS_BOOT}
    return tuple(name for name, kind in modes.items() if kind in types)


def find(disk: Disk, slices: Slices, root_lv: str | None = None) -> System:
    """The system on a disk.

    :param root_lv: the logical volume of its root, ``vg/lv``, where several
        volumes may be it.
    :raises InvalidFile: when there is none that can be read, or several.
    """
    table = partitions.read(disk)
    present = volumes.find(disk, table)
    readable = [v for v in present if v.kind in volumes.READABLE and v.extents]
    root = _root(disk, slices, present, readable, root_lv)
    tree = slices.tree(root)
    trees = [(tree, "/boot")]
    boot_volume = None
    for volume in readable:
        if volume is not root and _has_kernels(slices.tree(volume)):
            boot_volume = boot_volume or volume
            trees.insert(0, (slices.tree(volume), ""))
    kernels = boot.kernels(trees)
    deployment = _deployment(tree, kernels)
    return System(
        table,
        tuple(present),
        root,
        tree,
        boot_volume,
        deployment,
        _release(tree, deployment),
        tuple(_mounts(tree.text(f"{deployment}/etc/fstab") or "")),
        tuple(kernels),
    )


def _root(
    disk: Disk,
    slices: Slices,
    present: Sequence[Volume],
    readable: Sequence[Volume],
    root_lv: str | None,
) -> Volume:
    if root_lv:
        return _named(disk, present, root_lv)
    roots = [v for v in readable if _is_root(slices.tree(v))]
    typed = [
        v
        for v in roots
        if v.partition and "Linux root" in v.partition.type_name
    ]
    if len(typed) == 1:
        return typed[0]
    if len(roots) == 1:
        return roots[0]
    if roots:
        names = ", ".join(volume.name for volume in roots)
        raise NoSystem(
            disk.path,
            f"has several root file systems: {names}",
            hint="choose a logical volume with --root-lv VG/LV",
        )
    reasons = [reason for volume in present if (reason := _reason(volume))]
    raise NoSystem(
        disk.path,
        "has no root file system that can be read"
        + "".join(f"; {reason}" for reason in reasons[:5]),
        hint="register it as a whole disk: openstack image-prepare baremetal"
        f" register NAME --whole-disk {shlex.quote(disk.path)}",
    )


def _named(disk: Disk, present: Sequence[Volume], name: str) -> Volume:
    logical = [v for v in present if v.partition is None]
    for volume in logical:
        if volume.name == name:
            reason = _reason(volume)
            if volume.kind in volumes.READABLE and not reason:
                return volume
            problem = reason or f"{name} is no file system that can be read"
            raise errors.InvalidFile(disk.path, problem)
    names = ", ".join(volume.name for volume in logical) or "none"
    raise errors.InvalidFile(
        disk.path,
        f"has no logical volume {name}",
        hint=f"its logical volumes: {names}",
    )


def _reason(volume: Volume) -> str:
    """The reason why a possible root volume cannot be used."""
    if volume.partition is None and not volume.extents:
        kinds = ", ".join(s for s in volume.segments if s != "linear")
        return f"{volume.name} is a logical volume of the type {kinds}"
    if volume.kind in _UNSUPPORTED:
        return f"{volume.name} {_UNSUPPORTED[volume.kind]}"
    return ""


def _is_root(tree: FileTree) -> bool:
    return any(map(tree.find, _OS_RELEASE)) or bool(tree.names(_DEPLOYMENTS))


def _has_kernels(tree: FileTree) -> bool:
    names = tree.names("/")
    loader = {"loader", "grub2", "grub", "ostree"} & set(names)
    return bool(loader) or any(name.startswith("vmlinu") for name in names)


def _deployment(tree: FileTree, kernels: Sequence[Kernel]) -> str:
    """The directory of the system that OSTree boots; empty without it."""
    for kernel in kernels:
        for word in boot.split(kernel.options):
            name, _, value = word.partition("=")
            if name == "ostree" and tree.real(value):
                return tree.real(value)
    for name in sorted(tree.names(_DEPLOYMENTS)):
        directory = f"{_DEPLOYMENTS}/{name}/deploy"
        entries = tree.names(directory).items()
        deployments = [n for n, e in entries if e.kind == "directory"]
        if deployments and not any(map(tree.find, _OS_RELEASE)):
            return f"{directory}/{sorted(deployments)[0]}"
    return ""


def _release(tree: FileTree, deployment: str) -> Mapping[str, str]:
    for path in _OS_RELEASE[::-1]:
        text = tree.text(f"{deployment}{path}")
        if text is not None:
            return dict(_assignments(text))
    return {}


def _assignments(text: str) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and not name.startswith("#"):
            with contextlib.suppress(ValueError):
                value = " ".join(shlex.split(value))
            yield name, value


def _mounts(text: str) -> Iterator[Mount]:
    for line in text.splitlines():
        fields = line.partition("#")[0].split()
        if len(fields) >= 3:
            source, directory, kind, *rest = fields
            options = rest[0].split(",") if rest else ()
            yield Mount(source.strip('"'), directory, kind, tuple(options))
