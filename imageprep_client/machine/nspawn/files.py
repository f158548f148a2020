"""The files that give a machine its settings, as systemd reads them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.machine.nspawn import keys
from imageprep_client.machine.nspawn.declaration import Declaration

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HEADER = "# Written by: openstack image-prepare machine settings\n"
#: Keys that decide about the network, beside those that are written anyway.
_NETWORKS = frozenset(
    [
        *("Private", "VirtualEthernetExtra", "Interface", "IPVLAN", "Bridge"),
        *("Zone", "NamespacePath"),
    ]
)
_PLAIN = re.compile(r"[A-Za-z0-9_./=:,@%+-]+")


@dataclasses.dataclass(frozen=True, slots=True)
class SettingsFiles:
    """The settings of one machine.

    Privileged settings count only below /etc/systemd/nspawn, so the files
    are for there.

    :ivar nspawn: the text of NAME.nspawn.
    :ivar drop_in: the text of the drop-in of the unit with the resource
        limits; empty without limits.
    """

    machine: str
    nspawn: str
    drop_in: str

    @property
    def unit(self) -> str:
        """The unit that runs the machine."""
        return f"systemd-nspawn@{self.machine}.service"

    def paths(self, directory: Path) -> Iterator[tuple[Path, str]]:
        """The files with their texts.

        :param directory: in place of ``/etc/systemd``.
        """
        yield directory / "nspawn" / f"{self.machine}.nspawn", self.nspawn
        drop_ins = directory / "system" / f"{self.unit}.d"
        yield drop_ins / "50-image-prepare.conf", self.drop_in


def render(
    machine: str, declaration: Declaration, version: int
) -> SettingsFiles:
    """The files for one machine and one version of systemd.

    :raises InvalidArgument: for an unusable name or version.
    :raises InvalidFile: for a setting that this version does not take.
    """
    if not _NAME.fullmatch(machine):
        raise errors.InvalidArgument(
            f"{machine}: not the name of a machine",
            hint="up to 64 letters, digits, dots, dashes and underscores",
        )
    keys.check_version(version)
    sections = {
        "Exec": list(_exec(declaration)),
        "Files": list(_files(declaration)),
        "Network": list(_network(declaration, version)),
    }
    for section, settings in declaration.further.items():
        known = {key for key, _ in sections[section]}
        for key, values in settings.items():
            where = f"{section.lower()}.{key}"
            # Lists are added to; a second value of others is a mistake.
            if key in known - {"Environment", "Bind", "BindReadOnly"}:
                raise errors.InvalidFile(
                    declaration.path,
                    "is already set by another key of the declaration",
                    key=where,
                )
            for value in values:
                problem = keys.check(section, key, value, version)
                if problem:
                    raise errors.InvalidFile(
                        declaration.path, problem, key=where
                    )
                sections[section].append((key, value))
    for section, lines in sections.items():
        for key, value in lines:
            problem = keys.check(section, key, value, version)
            if problem:
                raise errors.InvalidFile(declaration.path, f"{key}: {problem}")
    limits = [*declaration.limits.items()]
    return SettingsFiles(
        machine,
        _HEADER + "\n".join(_section(*item) for item in sections.items()),
        _HEADER + _section("Service", limits) if limits else "",
    )


def _exec(declaration: Declaration) -> Iterator[tuple[str, str]]:
    if declaration.command:
        # The unit's own --boot is overridden; a stub of systemd's reaps.
        yield "Boot", "no"
        if "ProcessTwo" not in declaration.further["Exec"]:
            yield "ProcessTwo", "yes"
        words = [
            _quoted(word, declaration.path, "command")
            for word in declaration.command
        ]
        yield "Parameters", " ".join(words)
    else:
        yield "Boot", "yes"
    # Without it the unit's own -U shifts the owners of all files.
    yield "PrivateUsers", declaration.private_users
    for name, value in declaration.environment.items():
        key = f"environment.{name}"
        yield "Environment", _quoted(f"{name}={value}", declaration.path, key)


def _files(declaration: Declaration) -> Iterator[tuple[str, str]]:
    for bind in declaration.binds:
        key = "BindReadOnly" if bind.read_only else "Bind"
        yield key, f"{_path(bind.source)}:{_path(bind.target)}"


def _network(
    declaration: Declaration, version: int
) -> Iterator[tuple[str, str]]:
    # Without it the unit's own --network-veth adds one more interface.
    yield "VirtualEthernet", "yes" if declaration.virtual_ethernet else "no"
    if not (
        declaration.networks
        or declaration.virtual_ethernet
        or _NETWORKS & set(declaration.further["Network"])
    ):
        # Its init would configure the interfaces of the host otherwise.
        yield "Private", "yes"
    for network in declaration.networks:
        if network.renamed and version < keys.RENAMES_MACVLAN:
            raise errors.InvalidFile(
                declaration.path,
                f"the interface {network.name} on {network.host} needs"
                f" systemd {keys.RENAMES_MACVLAN}; {version} does not rename"
                " interfaces",
                key="networks",
                hint="leave the name out, and give the host's interface a"
                " name of at most 12 characters",
            )
        name = f":{network.name}" if network.renamed else ""
        yield "MACVLAN", network.host + name


def _section(name: str, settings: list[tuple[str, str]]) -> str:
    lines = [f"{key}={value}\n" for key, value in settings]
    return f"[{name}]\n{''.join(lines)}"


def _quoted(word: str, path: str, key: str) -> str:
    """A word as systemd splits it: backslashes stay, even before quotes.

    :raises InvalidFile: when it cannot be written so.
    """
    if _PLAIN.fullmatch(word):
        return word
    parts = re.findall(r'[^"]+|"+', word)
    if "'" not in word:
        parts = [word]
    if any(part.endswith("\\") for part in parts):
        raise errors.InvalidFile(
            path,
            f"{word!r} has a backslash where systemd-nspawn cannot take one",
            key=key,
        )
    return "".join(f"'{p}'" if '"' in p else f'"{p}"' for p in parts)


def _path(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:")
