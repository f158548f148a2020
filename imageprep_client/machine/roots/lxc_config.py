"""The configuration of an LXC container, as far as its root is concerned."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Self

from imageprep_client import errors
from imageprep_client.host import inputs

_LINE = re.compile(r"\s*(?P<key>lxc\.[A-Za-z0-9_.]+)\s*=\s*(?P<value>.*)")
_ROOT_KEYS = ("lxc.rootfs.path", "lxc.rootfs")
_MAPPING_KEYS = ("lxc.idmap", "lxc.id_map")
_NETWORK = re.compile(r"lxc\.net\.(?P<number>[0-9]{1,4})\.(?P<key>.+)")
#: LXC gives up at the same depth.
_MAX_DEPTH = 8
_MAX_SIZE = 1024 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class LxcConfig:
    """The root in the configuration, and the mounts that are put into it.

    :ivar rootfs: the value of ``lxc.rootfs.path``; empty without one.
    :ivar mounts: the fields of each ``lxc.mount.entry``.
    :ivar is_shifted: whether users inside are others outside.
    :ivar networks: the settings of each interface.
    """

    path: Path
    rootfs: str = ""
    mounts: tuple[tuple[str, ...], ...] = ()
    is_shifted: bool = False
    networks: tuple[dict[str, str], ...] = ()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a configuration and the files that it includes.

        :raises InvalidFile: when it cannot be read.
        """
        rootfs = ""
        mounts: list[tuple[str, ...]] = []
        shifted = False
        networks: dict[int, dict[str, str]] = {}
        for key, value in _settings(path, 0):
            # An empty value clears what was said before.
            if key in _ROOT_KEYS:
                rootfs = value
            elif key == "lxc.mount.entry":
                mounts = [*mounts, tuple(value.split())] if value else []
            elif key == "lxc.mount.fstab" or key == "lxc.mount":
                mounts += _table(value)
            elif key in _MAPPING_KEYS:
                # u INSIDE OUTSIDE COUNT
                shifted = bool(value) and (shifted or not _is_same(value))
            elif match := _NETWORK.fullmatch(key):
                interface = networks.setdefault(int(match["number"]), {})
                interface[match["key"]] = value
        return cls(
            path,
            rootfs,
            tuple(mounts),
            shifted,
            tuple(networks[number] for number in sorted(networks)),
        )

    @property
    def binds(self) -> list[str]:
        """The directories of the host that are mounted in the container.

        Each as ``SOURCE:TARGET``, the target relative to the root.
        """
        return [
            f"{source}:/{target.lstrip('/')}"
            for source, target, *rest in self.mounts
            if any("bind" in field.split(",") for field in rest)
            or (source.startswith("/") and rest[:1] == ["none"])
        ]


def _settings(path: Path, depth: int) -> list[tuple[str, str]]:
    """The keys and values of a file, in order, those included in place."""
    if depth > _MAX_DEPTH:
        raise errors.InvalidFile(str(path), "files include each other")
    text = inputs.load(str(path), _MAX_SIZE).decode(errors="replace")
    settings: list[tuple[str, str]] = []
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        key, value = match["key"], match["value"].strip().strip("\"'")
        if key != "lxc.include":
            settings.append((key, value))
            continue
        for included in _included(Path(value)):
            settings += _settings(included, depth + 1)
    return settings


def _included(path: Path) -> list[Path]:
    """The files that an ``lxc.include`` means; none where there is none."""
    if path.is_dir():
        return sorted(path.glob("*.conf"))
    return [path] if path.is_file() else []


def _table(path: str) -> list[tuple[str, ...]]:
    """The mounts of a file in the form of fstab(5)."""
    if not path or not Path(path).is_file():
        return []
    text = inputs.load(path, _MAX_SIZE).decode(errors="replace")
    return [
        tuple(line.split())
        for line in text.splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]


def _is_same(mapping: str) -> bool:
    """Whether a mapping of users leaves them as they are."""
    fields = mapping.split()
    return len(fields) == 4 and fields[1] == fields[2]
