"""Kernels of a system, as its boot loader starts them.

Boot loader specification entries (also those of OSTree), ``grub.cfg`` with
``grubenv``, and else the files in ``/boot`` themselves.
"""

from __future__ import annotations

import dataclasses
import re
import shlex
from collections.abc import Iterator, Mapping

from imageprep_client.baremetal.disks.filetree import FileTree

_ENTRIES = "/loader/entries"
_GRUB = ("/grub2", "/grub", "/EFI/redhat")
_KERNEL = re.compile(r"(?:vmlinuz|vmlinux|linux)-(?P<version>\d\S*)")
_RAMDISKS = ("initramfs-{}.img", "initrd.img-{}", "initrd-{}", "initramfs-{}")
_RESCUE = re.compile(r"rescue|recovery|kdump|debug", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{?(\w+)\}?")
_LINUX = re.compile(r"linux(?:efi|16)?")
_INITRD = re.compile(r"initrd(?:efi|16)?")
_SET = re.compile(r'\s*set\s+(\w+)="?([^"\n]*)"?\s*$')
_MAX_ENTRIES = 64
_MAX_DEPTH = 20


@dataclasses.dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel that can be started.

    :ivar tree: the file system that it is in.
    :ivar path: of the kernel, in `tree`.
    :ivar ramdisk: path of the ramdisk, in `tree`; empty without one.
    :ivar options: the command line, with all variables replaced.
    :ivar source: where that is from.
    """

    version: str
    tree: FileTree
    path: str
    ramdisk: str
    options: str
    source: str

    @property
    def is_rescue(self) -> bool:
        return bool(_RESCUE.search(f"{self.path} {self.version}"))


def kernels(trees: list[tuple[FileTree, str]]) -> list[Kernel]:
    """The kernels, newest first, rescue systems last.

    :param trees: the file systems that may have them, each with the path of
        its ``/boot``: ``/boot`` in a root file system, else empty.
    """
    bootable: list[Kernel] = []
    for tree, boot in trees:
        variables = _grubenv(tree, boot)
        entries = [
            *_from_entries(tree, boot, variables),
            *_from_grub(tree, boot, variables),
        ]
        known = {kernel.path for kernel in entries}
        bootable += entries
        bootable += [
            kernel
            for kernel in _from_files(tree, boot)
            if kernel.path not in known
        ]
    unique = {(k.tree.name, k.path, k.options): k for k in reversed(bootable)}
    return sorted(unique.values(), key=_newest, reverse=True)


def _newest(kernel: Kernel) -> tuple[bool, bool, list[tuple[int, int, str]]]:
    return (not kernel.is_rescue, bool(kernel.options), _key(kernel.version))


def _key(version: str) -> list[tuple[int, int, str]]:
    """Sorts versions as people do: 5.14.0-70 before 5.14.0-503."""
    return [
        (1, int(part), "") if part.isdigit() else (0, 0, part)
        for part in re.findall(r"\d{1,18}|[a-zA-Z]+", version)
    ]


def _from_entries(
    tree: FileTree, boot: str, variables: Mapping[str, str]
) -> Iterator[Kernel]:
    directory = f"{boot}{_ENTRIES}"
    names = [n for n in tree.names(directory) if n.endswith(".conf")]
    for name in sorted(names)[:_MAX_ENTRIES]:
        fields: dict[str, list[str]] = {}
        for line in (tree.text(f"{directory}/{name}") or "").splitlines():
            key, _, value = line.strip().partition(" ")
            if key and not key.startswith("#"):
                fields.setdefault(key, []).append(value.strip())
        if not fields.get("linux"):
            continue
        path = _existing(tree, boot, fields["linux"][0])
        initrds = " ".join(fields.get("initrd", ())).split()
        # grub2 puts $tuned_initrd behind it.
        initrds = [i for i in initrds if not i.startswith("$")]
        if path:
            options = _expand(" ".join(fields.get("options", ())), variables)
            yield Kernel(
                fields.get("version", [""])[0] or _version(path),
                tree,
                path,
                _existing(tree, boot, initrds[-1]) if initrds else "",
                options,
                f"{tree.name}: {directory}/{name}",
            )


def _from_grub(
    tree: FileTree, boot: str, variables: Mapping[str, str]
) -> Iterator[Kernel]:
    for directory in _GRUB:
        path = f"{boot}{directory}/grub.cfg"
        text = tree.text(path)
        if text is None:
            continue
        known = dict(variables)
        pending: tuple[str, str] | None = None
        for line in text.splitlines():
            if match := _SET.match(line):
                known.setdefault(match[1], match[2])
            words = line.split()
            if len(words) > 1 and _LINUX.fullmatch(words[0]):
                if pending:
                    yield from _grub_kernel(tree, path, *pending, "")
                real = _existing(tree, boot, words[1])
                pending = (real, _expand(" ".join(words[2:]), known))
            elif len(words) > 1 and _INITRD.fullmatch(words[0]) and pending:
                ramdisk = _existing(tree, boot, words[-1])
                yield from _grub_kernel(tree, path, *pending, ramdisk)
                pending = None
        if pending:
            yield from _grub_kernel(tree, path, *pending, "")


def _grub_kernel(
    tree: FileTree, config: str, path: str, options: str, ramdisk: str
) -> Iterator[Kernel]:
    if path:
        source = f"{tree.name}: {config}"
        yield Kernel(_version(path), tree, path, ramdisk, options, source)


def _from_files(tree: FileTree, boot: str) -> Iterator[Kernel]:
    names = tree.names(boot or "/")
    for name, entry in names.items():
        match = _KERNEL.fullmatch(name)
        if not match or entry.kind != "file":
            continue
        version = match["version"]
        ramdisks = [pattern.format(version) for pattern in _RAMDISKS]
        ramdisk = next((r for r in ramdisks if r in names), "")
        yield Kernel(
            version,
            tree,
            f"{boot}/{name}",
            f"{boot}/{ramdisk}" if ramdisk else "",
            "",
            f"{tree.name}: {boot}/{name}",
        )


def _existing(tree: FileTree, boot: str, path: str) -> str:
    """A path of a boot loader, in this file system; empty if not there.

    Paths are below ``/boot`` where that is a file system of its own, and
    grub may have the name of a device in front of it.
    """
    path = "/" + path.rpartition(")")[2].lstrip("/")
    for candidate in (path, f"{boot}{path}"):
        if tree.real(candidate):
            return tree.real(candidate)
    if path.startswith("/boot/") and not boot:
        return tree.real(path.removeprefix("/boot"))
    return ""


def _version(path: str) -> str:
    name = path.rpartition("/")[2]
    match = _KERNEL.fullmatch(name)
    return match["version"] if match else name


def _grubenv(tree: FileTree, boot: str) -> dict[str, str]:
    variables: dict[str, str] = {}
    for directory in _GRUB:
        text = tree.text(f"{boot}{directory}/grubenv") or ""
        for line in text.splitlines():
            name, equals, value = line.partition("=")
            if equals and not line.startswith("#"):
                variables.setdefault(name, value)
        config = tree.text(f"{boot}{directory}/grub.cfg") or ""
        for line in config.splitlines():
            match = _SET.match(line)
            # The default of a variable that grubenv may have.
            if match and match[1].startswith("default_"):
                variables.setdefault(
                    match[1].removeprefix("default_"), match[2]
                )
    return variables


def _expand(options: str, variables: Mapping[str, str]) -> str:
    """The options without variables; unknown ones are empty, as in grub."""
    for _ in range(_MAX_DEPTH):
        expanded = _VARIABLE.sub(
            lambda match: variables.get(match[1], ""), options
        )[:4096]
        if expanded == options:
            break
        options = expanded
    return " ".join(split(_VARIABLE.sub("", options)))


def split(options: str) -> list[str]:
    """The words of a command line; a quoted value may have spaces."""
    lexer = shlex.shlex(options, posix=False, punctuation_chars=False)
    lexer.whitespace_split = True
    lexer.commenters = ""
    try:
        return list(lexer)
    except ValueError:
        return options.split()
