"""The keys of a service that stand for one option of ``podman create``."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping

#: The types of the value of an option in a declaration.
OptionValue = bool | int | str | tuple[str, ...] | Mapping[str, str]


class OptionKind(enum.Enum):
    """The type of a key."""

    FLAG = "a boolean"
    NUMBER = "a whole number"
    TEXT = "a string"
    #: An option that is repeated.
    LIST = "a list"
    #: An option that is repeated with NAME=VALUE.
    MAP = "a mapping"


@dataclasses.dataclass(frozen=True, slots=True)
class Option:
    """A key of a service.

    :ivar name: the long option of podman.
    :ivar pattern: a value of it; None for any.
    :ivar form: the pattern in words.
    :ivar quadlet: the key of a Quadlet unit that podman 4.4 knows; empty
        where the option has to be among ``PodmanArgs``.
    """

    name: str
    kind: OptionKind
    pattern: re.Pattern[str] | None = None
    form: str = ""
    quadlet: str = ""


def _text(name: str, pattern: str = "", form: str = "") -> Option:
    compiled = re.compile(pattern) if pattern else None
    return Option(name, OptionKind.TEXT, compiled, form)


def _list(
    name: str, pattern: str = "", form: str = "", quadlet: str = ""
) -> Option:
    compiled = re.compile(pattern, re.DOTALL) if pattern else None
    return Option(name, OptionKind.LIST, compiled, form, quadlet)


_CAPABILITY = r"[A-Za-z_]+"

#: By key, in the order in which they are rendered.
OPTIONS: Mapping[str, Option] = {
    "privileged": Option("privileged", OptionKind.FLAG),
    "network": _list("network", quadlet="Network"),
    "pid": _text("pid"),
    "ipc": _text("ipc"),
    "uts": _text("uts"),
    "cgroupns": _text("cgroupns"),
    "user": _text("user"),
    "group_add": _list("group-add"),
    "hostname": _text("hostname"),
    "extra_hosts": _list("add-host", r"[^:]+:.+", "name:address"),
    "cap_add": _list(
        "cap-add",
        _CAPABILITY,
        "a capability such as NET_ADMIN",
        "AddCapability",
    ),
    "cap_drop": _list(
        "cap-drop",
        _CAPABILITY,
        "a capability such as NET_ADMIN",
        "DropCapability",
    ),
    "security_opt": _list("security-opt"),
    "devices": _list("device", r"/.+", "a path such as /dev/kvm", "AddDevice"),
    "ulimits": _list(
        "ulimit", r"host|[a-z]+=-?\d+(:-?\d+)?", "such as nofile=1024:4096"
    ),
    "memory": _text("memory", r"\d+[bkmgBKMG]?", "a size such as 512m"),
    "cpuset": _text(
        "cpuset-cpus", r"\d+(-\d+)?(,\d+(-\d+)?)*", "such as 0-3,8"
    ),
    "tmpfs": _list("tmpfs", r"/.*", "a path such as /run"),
    "volumes": _list(
        "volume", r"[^:]+:/.*|/[^:]*", "source:/target[:options]", "Volume"
    ),
    "volumes_from": _list("volumes-from"),
    "labels": Option("label", OptionKind.MAP, quadlet="Label"),
    "log_driver": _text("log-driver"),
    "log_options": Option("log-opt", OptionKind.MAP),
    "restart": _text(
        "restart",
        r"no|always|unless-stopped|on-failure(:\d+)?",
        "one of no, always, unless-stopped, on-failure[:times]",
    ),
    "stop_signal": _text(
        "stop-signal", r"(SIG)?[A-Z]+[A-Z0-9+-]*|\d+", "a signal such as TERM"
    ),
    "stop_timeout": Option("stop-timeout", OptionKind.NUMBER),
    "conmon_pidfile": _text("conmon-pidfile", r"/.+", "an absolute path"),
}
