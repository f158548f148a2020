"""The declaration that the settings of a machine are written from.

::

    command: [/usr/sbin/nginx, -g, "daemon off;"]   # instead of an init
    private_users: no            # as PrivateUsers; the default is no
    virtual_ethernet: no         # as VirtualEthernet; the default is no
    networks:                    # one MACVLAN interface each; by default,
      - br-mgmt                  # there is no network but a loopback
      - {host: br-storage, name: eth2}
    binds:
      - /openstack/log           # the same path in the container
      - {source: /openstack/keys, target: /etc/keys, read_only: yes}
    environment: {LANG: C.UTF-8}
    limits: {memory: 4G, cpu: 150%, tasks: 4096, io_weight: 200}
    exec: {Hostname: www}        # further keys of systemd.nspawn(5)
    files: {}
    network: {}                  # {Private: no}: the network of the host
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document

#: Bytes of the name of a network interface.
MAX_NAME = 15
#: The prefix that systemd-nspawn gives to a MACVLAN interface.
PREFIX = "mv-"
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Resource limits, with their keys in [Service] and their values.
_LIMITS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "memory": ("MemoryMax", re.compile(r"[0-9]+[KMGT]?|[0-9]+%|infinity")),
    "memory_high": (
        "MemoryHigh",
        re.compile(r"[0-9]+[KMGT]?|[0-9]+%|infinity"),
    ),
    "memory_swap": (
        "MemorySwapMax",
        re.compile(r"[0-9]+[KMGT]?|[0-9]+%|infinity"),
    ),
    "cpu": ("CPUQuota", re.compile(r"[0-9]+%")),
    "cpu_weight": ("CPUWeight", re.compile(r"[0-9]+|idle")),
    "cpus": ("AllowedCPUs", re.compile(r"[0-9]+([-, ][0-9]+)*")),
    "tasks": ("TasksMax", re.compile(r"[0-9]+%?|infinity")),
    "io_weight": ("IOWeight", re.compile(r"[0-9]+")),
}


@dataclasses.dataclass(frozen=True, slots=True)
class MacvlanNetwork:
    """A MACVLAN interface.

    :ivar host: the interface of the host.
    :ivar name: the interface in the container.
    """

    host: str
    name: str

    @property
    def renamed(self) -> bool:
        """Whether the name is not the one that systemd-nspawn gives."""
        return self.name != PREFIX + self.host


@dataclasses.dataclass(frozen=True, slots=True)
class BindMount:
    """A directory or file of the host that the container sees."""

    source: str
    target: str
    read_only: bool


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """The settings of a machine, checked except for the version of systemd.

    :ivar command: of an application container; empty to boot its init.
    :ivar limits: values by their keys in the [Service] section of a unit.
    :ivar further: further settings, by section and key.
    """

    path: str
    command: Sequence[str]
    private_users: str
    virtual_ethernet: bool
    networks: Sequence[MacvlanNetwork]
    binds: Sequence[BindMount]
    environment: Mapping[str, str]
    limits: Mapping[str, str]
    further: Mapping[str, Mapping[str, Sequence[str]]]


def read(path: str) -> Declaration:
    """Read a declaration.

    :raises InvalidFile: with the key whose value cannot be used.
    """
    return _Reader(path).declaration(document.read(path))


class _Reader:
    """Reads the parts of one file."""

    def __init__(self, path: str) -> None:
        self._path = path

    def declaration(self, data: Any) -> Declaration:
        fields = dict(self._mapping(data, ""))
        declaration = Declaration(
            path=self._path,
            command=[
                self._text(word, f"command[{number}]")
                for number, word in enumerate(
                    self._list(fields.pop("command", []), "command")
                )
            ],
            private_users=self._word(
                fields.pop("private_users", False), "private_users"
            ),
            virtual_ethernet=self._boolean(
                fields.pop("virtual_ethernet", False), "virtual_ethernet"
            ),
            networks=self._networks(fields.pop("networks", [])),
            binds=self._binds(fields.pop("binds", [])),
            environment=self._environment(fields.pop("environment", {})),
            limits=self._limits(fields.pop("limits", {})),
            further={
                section.capitalize(): self._further(
                    fields.pop(section, {}), section
                )
                for section in ("exec", "files", "network")
            },
        )
        for key in fields:
            raise self._invalid(str(key), "is not a key of a declaration")
        return declaration

    def _networks(self, data: Any) -> list[MacvlanNetwork]:
        networks: dict[str, MacvlanNetwork] = {}
        for number, item in enumerate(self._list(data, "networks")):
            key = f"networks[{number}]"
            if isinstance(item, str):
                item = {"host": item}
            fields = self._mapping(item, key, "host", "name")
            host = self._interface(fields.get("host"), f"{key}.host")
            if "name" in fields:
                name = self._interface(fields["name"], f"{key}.name")
            else:
                name = PREFIX + host
                if len(name) > MAX_NAME:
                    raise self._invalid(
                        key,
                        f"{name} is longer than {MAX_NAME} characters, and"
                        " systemd would give it another name",
                        hint="give it a name, as in {host: "
                        f"{host}, name: eth{number}}}",
                    )
            if name in networks:
                raise self._invalid(
                    key,
                    f"{name} is the name of two interfaces, on"
                    f" {networks[name].host} and {host}",
                    hint="give each a name of its own",
                )
            networks[name] = MacvlanNetwork(host, name)
        return list(networks.values())

    def _binds(self, data: Any) -> list[BindMount]:
        binds: dict[str, BindMount] = {}
        for number, item in enumerate(self._list(data, "binds")):
            key = f"binds[{number}]"
            if isinstance(item, str):
                item = {"source": item}
            fields = self._mapping(item, key, "source", "target", "read_only")
            source = self._absolute(fields.get("source"), f"{key}.source")
            target = self._absolute(
                fields.get("target", source), f"{key}.target"
            )
            if target in binds:
                raise self._invalid(key, f"{target} is bound twice")
            binds[target] = BindMount(
                source,
                target,
                self._boolean(
                    fields.get("read_only", False), f"{key}.read_only"
                ),
            )
        return list(binds.values())

    def _environment(self, data: Any) -> dict[str, str]:
        variables = {}
        for name, value in self._mapping(data, "environment").items():
            if not isinstance(name, str) or not _VARIABLE.fullmatch(name):
                raise self._invalid(
                    f"environment.{name}", "is not the name of a variable"
                )
            variables[name] = self._text(value, f"environment.{name}")
        return variables

    def _limits(self, data: Any) -> dict[str, str]:
        limits = {}
        for name, value in self._mapping(data, "limits", *_LIMITS).items():
            key, pattern = _LIMITS[name]
            text = self._word(value, f"limits.{name}")
            if not pattern.fullmatch(text):
                raise self._invalid(
                    f"limits.{name}", f"{text!r} is not a value of {key}"
                )
            limits[key] = text
        return limits

    def _further(self, data: Any, section: str) -> dict[str, list[str]]:
        settings = {}
        for name, value in self._mapping(data, section).items():
            key = f"{section}.{name}"
            values = value if isinstance(value, list) else [value]
            settings[str(name)] = [self._word(item, key) for item in values]
        return settings

    def _interface(self, value: Any, key: str) -> str:
        text = self._text(value, key)
        if len(text) > MAX_NAME:
            raise self._invalid(
                key, f"{text} is longer than {MAX_NAME} characters"
            )
        if not _INTERFACE.fullmatch(text) or text in (".", ".."):
            raise self._invalid(key, f"{text!r} is not a name of an interface")
        return text

    def _absolute(self, value: Any, key: str) -> str:
        text = self._text(value, key)
        if not text.startswith("/") or ".." in text.split("/"):
            raise self._invalid(key, f"{text!r} is not an absolute path")
        return text

    def _word(self, value: Any, key: str) -> str:
        """A scalar as systemd writes it."""
        if isinstance(value, bool):
            return "yes" if value else "no"
        return self._text(value, key)

    def _text(self, value: Any, key: str) -> str:
        if isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str) or not value:
            raise self._invalid(key, "is not a text")
        if not value.isprintable():
            raise self._invalid(key, "has control characters")
        return value

    def _boolean(self, value: Any, key: str) -> bool:
        if not isinstance(value, bool):
            raise self._invalid(key, "is neither true nor false")
        return value

    def _list(self, value: Any, key: str) -> list[Any]:
        if not isinstance(value, list):
            raise self._invalid(key, "is not a list")
        return value

    def _mapping(self, value: Any, key: str, *known: str) -> Mapping[Any, Any]:
        """:param known: the keys that it may have; all by default."""
        if not isinstance(value, dict):
            raise self._invalid(key, "is not a mapping")
        for name in value:
            if known and name not in known:
                raise self._invalid(
                    f"{key}.{name}", f"is none of: {', '.join(known)}"
                )
        return value

    def _invalid(
        self, key: str, problem: str, hint: str | None = None
    ) -> errors.InvalidFile:
        return errors.InvalidFile(self._path, problem, key=key, hint=hint)
