"""Roots of machines, and the directories that they are kept in."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import enum
import re
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.host.reading import ReadableDirectory
from imageprep_client.machine.roots.lxc_config import LxcConfig
from imageprep_client.machine.roots.overlays import merged
from imageprep_client.programs import btrfs, lxc, systemd

#: Where systemd looks for settings.
_NSPAWN = (Path("/etc/systemd/nspawn"), Path("/run/systemd/nspawn"))
#: As systemd and LXC take them; neither an option nor a path.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}")


class RootKind(enum.StrEnum):
    """How a root is kept."""

    LXC_DIR = "lxc-dir"
    LXC_BTRFS = "lxc-btrfs"
    LXC_OVERLAY = "lxc-overlay"
    DIRECTORY = "directory"
    SUBVOLUME = "subvolume"


class RootStoreKind(enum.StrEnum):
    """The owner of a directory of roots."""

    LXC = "lxc"
    MACHINES = "machines"


@dataclasses.dataclass(frozen=True, slots=True)
class RootStore:
    """A directory that has roots: an lxcpath, or one such as
    ``/var/lib/machines``.
    """

    kind: RootStoreKind
    path: Path


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class MachineRoot:
    """The root file system of a machine.

    :ivar path: the directory that the root is; of an overlay, the upper one.
    :ivar lower: the lower directory of an overlay, or None.
    :ivar config: that of an LXC container, or None.
    """

    name: str
    kind: RootKind
    store: RootStore
    path: Path
    lower: Path | None = None
    config: LxcConfig | None = None

    @property
    def is_lxc(self) -> bool:
        """Whether it is that of an LXC container."""
        return self.store.kind is RootStoreKind.LXC

    @property
    def is_subvolume(self) -> bool:
        """Whether it is a subvolume, of which snapshots can be made."""
        return self.kind in (RootKind.LXC_BTRFS, RootKind.SUBVOLUME)

    def check_nested(self, hint: str) -> None:
        """Check that no subvolume is nested in the root.

        :raises InvalidArgument: when there is one, with the hint.
        """
        nested = btrfs.nested(self.path) if self.is_subvolume else []
        if nested:
            raise errors.InvalidArgument(
                f"{self.name}: subvolumes are nested in its root:"
                f" {', '.join(nested[:5])}",
                hint=hint,
            )

    @property
    def is_shifted(self) -> bool:
        """Whether users of the machine are others on this host."""
        config = self.config
        shifted = config is not None and config.is_shifted
        return shifted or self.path.stat().st_uid != 0

    @property
    def settings(self) -> Path | None:
        """The file that configures the machine, or None.

        It may lie beside the root, where systemd ignores much of it.
        """
        if self.config is not None:
            return self.config.path
        folders = (*_NSPAWN, self.store.path)
        files = (folder / f"{self.name}.nspawn" for folder in folders)
        return next((file for file in files if file.is_file()), None)

    @property
    def bind_mounts(self) -> list[str]:
        """The bind mounts of the machine, as ``SOURCE:TARGET``."""
        if self.config is not None:
            return self.config.binds
        return [
            value
            for key, value in self._nspawn_settings()
            if key in ("Bind", "BindReadOnly")
        ]

    @property
    def networks(self) -> list[dict[str, str]]:
        """The settings of its network interfaces."""
        if self.config is not None:
            return [dict(network) for network in self.config.networks]
        return [
            {"type": key.lower(), "link": link}
            for key, value in self._nspawn_settings()
            if key in ("Bridge", "Interface", "IPVLAN", "MACVLAN", "Zone")
            for link in value.split()
        ]

    def _nspawn_settings(self) -> list[tuple[str, str]]:
        if self.settings is None:
            return []
        text = inputs.load(str(self.settings)).decode(errors="replace")
        pairs = (line.partition("=") for line in text.splitlines())
        return [
            (key.strip(), value.strip())
            for key, equals, value in pairs
            if equals and not key.lstrip().startswith(("#", ";"))
        ]

    @contextlib.contextmanager
    def files(self) -> Iterator[Path]:
        """The files as the machine has them; those of an overlay read-only.

        :raises StoreError: when its overlay cannot be mounted.
        """
        if self.lower is None:
            yield self.path
            return
        with merged(self.lower, self.path) as path:
            yield path

    def state(self) -> str:
        """The state of the machine: ``running``, ``stopped`` and the like.

        ``unknown`` where neither LXC nor systemd can tell.
        """
        try:
            if self.is_lxc:
                return lxc.LxcContainer(self.store.path, self.name).state()
            return systemd.machine_state(self.name)
        except (lxc.LxcError, systemd.SystemdError):
            return "unknown"

    def is_read_only(self) -> bool:
        """Whether nothing can be written to it, as systemd marks it so."""
        return systemd.is_read_only(self.path)

    def created(self) -> str:
        """When the directory was last given its attributes, RFC 3339."""
        status = self.path.stat()
        moment = datetime.datetime.fromtimestamp(
            min(status.st_mtime, status.st_ctime), datetime.UTC
        )
        return moment.isoformat(timespec="seconds")

    def size(self) -> int:
        """The bytes that its files take on the disk, hard links once.

        Of an overlay, those of the upper directory.
        """
        seen: set[tuple[int, int]] = set()
        total = 0
        directory = ReadableDirectory(self.path)
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            for name in directory.entries(folder):
                path = f"{folder}/{name}" if folder else name
                status = directory.status(path)
                if status is None:
                    continue
                key = (status.st_dev, status.st_ino)
                if status.st_nlink > 1 and key in seen:
                    continue
                seen.add(key)
                total += status.st_blocks * 512
                if directory.is_directory(path):
                    waiting.append(path)
        return total


def check_name(name: str) -> None:
    """Check the name of a machine.

    :raises InvalidArgument: when it cannot be one.
    """
    if not _NAME.fullmatch(name) or ".." in name:
        raise errors.InvalidArgument(
            f"{name[:100]!r} is no name of a machine",
            hint="a name has up to 63 letters, digits, dashes, underscores"
            " and dots, and begins with a letter, a digit or an underscore",
        )
