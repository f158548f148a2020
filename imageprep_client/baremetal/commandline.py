"""The command line of a kernel that is started without its boot loader.

The root file system is on another disk then, and alone: neither its logical
volume nor ``/boot`` comes along.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.baremetal import boot
from imageprep_client.baremetal.boot import Kernel
from imageprep_client.baremetal.system import Mount, System

#: Options that name devices which are not there.
_DROPPED = ("rd.lvm.lv", "rd.lvm.vg", "resume", "BOOT_IMAGE", "initrd")
# As Ironic's kernel_parameters.py takes them: other keys and values are
# refused when a node is deployed.
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_VALUE = re.compile(r'[!-~]*|"[ -!#-~]*"')
_PSEUDO = frozenset(
    {"none", "swap", "tmpfs", "proc", "sysfs", "devpts", "nfs", "nfs4", "cifs"}
)


@dataclasses.dataclass(frozen=True, slots=True)
class CommandLine:
    """A command line, and what of the original one it has not.

    :ivar dropped: options that name devices which do not come along.
    :ivar notes: what the operator should know of it.
    """

    text: str
    dropped: tuple[str, ...]
    notes: tuple[str, ...]


def of(
    system: System, kernel: Kernel, append: str | None = None, *, image: str
) -> CommandLine:
    """The command line for a kernel whose root is extracted.

    :param append: options to add at the end.
    :param image: the image file, for messages.
    :raises InvalidArgument: when `append` is none that Ironic takes.
    :raises InvalidFile: when ``ostree=`` names nothing, or no option can be
        taken as it is.
    """
    root = f"root=UUID={system.root.uuid}"
    words: list[str] = []
    dropped: list[str] = []
    for word in boot.split(kernel.options):
        name, _, value = word.partition("=")
        if name == "root":
            word = root
        elif name in _DROPPED:
            dropped.append(word)
            continue
        elif name == "ostree" and not system.tree.real(value):
            raise errors.InvalidFile(
                image, f"{value} is not there", key=f"{kernel.source}: ostree="
            )
        if not _is_option(word):
            raise errors.InvalidFile(
                image,
                f"{word!r} is no option that Ironic takes",
                key=kernel.source,
            )
        if word not in words:
            words.append(word)
    if root not in words:
        words.insert(0, root)
    if system.deployment and not any(w.startswith("ostree=") for w in words):
        words.append(f"ostree={_ostree(system, image)}")
    masks = [_mask(mount) for mount in _elsewhere(system)]
    words += [mask for mask in masks if mask not in words]
    for word in boot.split(append or ""):
        if not _is_option(word):
            raise errors.InvalidArgument(
                f"--append: {word!r} is no option that Ironic takes",
                hint="KEY or KEY=VALUE; quote only values that have spaces",
            )
        words.append(word)
    return CommandLine(
        " ".join(words), tuple(dropped), tuple(_notes(system, kernel))
    )


def _is_option(word: str) -> bool:
    key, _equals, value = word.partition("=")
    return bool(_KEY.fullmatch(key) and _VALUE.fullmatch(value))


def _ostree(system: System, image: str) -> str:
    """The link of the deployment that is booted, as in ``ostree=``."""
    for name in sorted(system.tree.names("/ostree")):
        if not name.startswith("boot."):
            continue
        for path in _below(system, f"/ostree/{name}", 3):
            if system.tree.real(path) == system.deployment:
                return path
    raise errors.InvalidFile(
        image, f"no link leads to {system.deployment}", key="/ostree"
    )


def _below(system: System, path: str, depth: int) -> Iterator[str]:
    if not depth:
        yield path
        return
    for name in sorted(system.tree.names(path)):
        yield from _below(system, f"{path}/{name}", depth - 1)


def _elsewhere(system: System) -> Iterator[Mount]:
    """The mounts of fstab from devices that do not come along."""
    for mount in system.mounts:
        optional = {"nofail", "noauto"} & set(mount.options)
        if mount.directory == "/" or not mount.directory.startswith("/"):
            continue
        if mount.type in _PSEUDO or optional or "bind" in mount.options:
            continue
        if not _is_root(system, mount):
            yield mount


def _is_root(system: System, mount: Mount) -> bool:
    root = system.root
    names = {f"UUID={root.uuid}", f"/dev/disk/by-uuid/{root.uuid}"}
    if root.label:
        names |= {f"LABEL={root.label}", f"/dev/disk/by-label/{root.label}"}
    return mount.source in names


def _mask(mount: Mount) -> str:
    """The option that makes systemd skip a mount; systemd-escape(1)."""
    escaped = "".join(
        "-"
        if char == "/"
        else char
        if re.match(r"[A-Za-z0-9:_]", char) or (char == "." and index)
        else "".join(f"\\x{byte:02x}" for byte in char.encode())
        for index, char in enumerate(mount.directory.strip("/"))
    )
    return f"systemd.mask={escaped}.mount"


def _notes(system: System, kernel: Kernel) -> Iterator[str]:
    for mount in system.mounts:
        if mount.directory == "/" and not _is_root(system, mount):
            yield (
                f"fstab names {mount.source} for /, which is not there after"
                " deployment"
            )
    for volume in filter(None, (system.root, system.boot)):
        if volume.unclean:
            yield (
                f"the journal of {volume.name} was not written back: files"
                " that were changed last may be older here"
            )
    if not kernel.options:
        yield (
            f"no boot loader entry names {kernel.path}: the command line is"
            " made up of what has to be there"
        )
