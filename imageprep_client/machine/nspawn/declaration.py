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

from imageprep_client.heat import document
from imageprep_client.heat.value import Value

#: Bytes of the name of a network interface.
MAX_NAME = 15
#: The prefix that systemd-nspawn gives to a MACVLAN interface.
PREFIX = "mv-"
_INTERFACE = re.compile(r"[A-Za-z0-9_.-]+")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SIZE = re.compile(r"[0-9]+[KMGT]?|[0-9]+%|infinity")
#: Resource limits, with their keys in [Service] and their values.
_LIMITS: Mapping[str, tuple[str, re.Pattern[str]]] = {
    "memory": ("MemoryMax", _SIZE),
    "memory_high": ("MemoryHigh", _SIZE),
    "memory_swap": ("MemorySwapMax", _SIZE),
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


#: The keys of a declaration.
_KEYS = (
    *("command", "private_users", "virtual_ethernet", "networks", "binds"),
    *("environment", "limits", "exec", "files", "network"),
)


def read(path: str) -> Declaration:
    """Read a declaration.

    :raises InvalidFile: with the key whose value cannot be used.
    """
    top = Value(document.read(path, numbers_as_written=True), path)
    parts = _parts(top, *_KEYS)

    def part(name: str, default: object) -> Value:
        return parts.get(name) or top.child(name, default)

    return Declaration(
        path=path,
        command=list(map(_text, part("command", []).elements())),
        private_users=_word(part("private_users", False)),
        virtual_ethernet=part("virtual_ethernet", False).flag(),
        networks=_networks(part("networks", [])),
        binds=_binds(part("binds", [])),
        environment=_environment(part("environment", {})),
        limits=_limits(part("limits", {})),
        further={
            section.capitalize(): _further(part(section, {}))
            for section in ("exec", "files", "network")
        },
    )


def _networks(value: Value) -> list[MacvlanNetwork]:
    networks: dict[str, MacvlanNetwork] = {}
    for element in value.elements():
        parts = _parts(_long_form(element, "host"), "host", "name")
        host = _interface(parts.get("host") or element.child("host", None))
        if "name" in parts:
            name = _interface(parts["name"])
        else:
            name = PREFIX + host
            if len(name) > MAX_NAME:
                raise element.error(
                    f"{name} is longer than {MAX_NAME} characters, and"
                    " systemd would give it another name",
                    f"give it a name, as in {{host: {host}, name: eth1}}",
                )
        if name in networks:
            raise element.error(
                f"{name} is the name of two interfaces, on"
                f" {networks[name].host} and {host}",
                "give each a name of its own",
            )
        networks[name] = MacvlanNetwork(host, name)
    return list(networks.values())


def _binds(value: Value) -> list[BindMount]:
    binds: dict[str, BindMount] = {}
    for element in value.elements():
        if isinstance(element.data, str) and ":" in element.data:
            raise element.error(
                "is a path with a colon in it",
                "write {source: /here, target: /in/the/machine}",
            )
        parts = _parts(
            _long_form(element, "source"), "source", "target", "read_only"
        )
        source = parts.get("source") or element.child("source", None)
        target = _absolute(parts.get("target", source))
        if target in binds:
            raise element.error(f"{target} is bound twice")
        read_only = "read_only" in parts and parts["read_only"].flag()
        binds[target] = BindMount(_absolute(source), target, read_only)
    return list(binds.values())


def _long_form(element: Value, key: str) -> Value:
    """A mapping; a string is the value of one key."""
    if not isinstance(element.data, str):
        return element
    return dataclasses.replace(element, data={key: element.data})


def _environment(value: Value) -> dict[str, str]:
    variables = {}
    for name, part in value.items():
        if not _VARIABLE.fullmatch(name):
            raise part.error("is not the name of a variable")
        variables[name] = "" if part.data == "" else _text(part)
    return variables


def _limits(value: Value) -> dict[str, str]:
    limits = {}
    for name, part in _parts(value, *_LIMITS).items():
        key, pattern = _LIMITS[name]
        text = _word(part)
        if not pattern.fullmatch(text):
            raise part.error(f"{text!r} is not a value of {key}")
        limits[key] = text
    return limits


def _further(value: Value) -> dict[str, list[str]]:
    return {
        name: [
            _word(dataclasses.replace(part, data=data))
            for data in (
                part.data if isinstance(part.data, list) else [part.data]
            )
        ]
        for name, part in value.items()
    }


def _interface(value: Value) -> str:
    text = _text(value)
    if len(text) > MAX_NAME:
        raise value.error(f"{text} is longer than {MAX_NAME} characters")
    if not _INTERFACE.fullmatch(text) or text in (".", ".."):
        raise value.error(f"{text!r} is not a name of an interface")
    return text


def _absolute(value: Value) -> str:
    text = _text(value)
    if not text.startswith("/") or ".." in text.split("/"):
        raise value.error(f"{text!r} is not an absolute path")
    return text


def _word(value: Value) -> str:
    """A scalar as systemd writes it."""
    if isinstance(value.data, bool):
        return "yes" if value.data else "no"
    return _text(value)


def _text(value: Value) -> str:
    text = value.scalar()
    if not text:
        raise value.error("is empty")
    if not text.isprintable():
        raise value.error("has control characters")
    return text


def _parts(value: Value, *known: str) -> dict[str, Value]:
    """The values of a mapping that has only known keys."""
    parts = dict(value.items())
    for name, part in parts.items():
        if name not in known:
            raise part.error(f"is none of: {', '.join(known)}")
    return parts
