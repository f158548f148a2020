"""Read the startup configuration of paunch and TripleO.

It is a JSON object with containers by name, or a file for one container, as
below ``/var/lib/tripleo-config/container-startup-config``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.heat.value import Value
from imageprep_client.service.declaration import (
    OPTIONS,
    OptionKind,
    Service,
    service_from,
)

#: Keys whose name in a declaration is another one.
_RENAMED = {
    "net": "network",
    "ulimit": "ulimits",
    "mem_limit": "memory",
    "cpuset_cpus": "cpuset",
    "stop_grace_period": "stop_timeout",
}
#: All keys, with the name that a declaration has for them.
_KEYS = {
    **{
        key: key
        for key in (
            *("image", "command", "environment", "env_file", "depends_on"),
            *(OPTIONS.keys() - {*_RENAMED.values(), "log_options"}),
        )
    },
    **_RENAMED,
}
#: Keys that have no key in a declaration, with podman's option.
_ARGUMENTS = {
    "cpu_shares": "cpu-shares",
    "memswap_limit": "memory-swap",
    "mem_swappiness": "memory-swappiness",
    "pids_limit": "pids-limit",
    "shm_size": "shm-size",
    "check_interval": "health-interval",
    "entrypoint": "entrypoint",
    "workdir": "workdir",
}
_SWITCHES = ("interactive", "tty", "init")
#: Keys about how and when paunch starts a container.
_PAUNCHS = frozenset(
    str.split("""
    action config_id detach exit_codes managed_by part_of remove start_order
""")
)
_KNOWN = (*_KEYS, *_ARGUMENTS, *_SWITCHES, *_PAUNCHS, "healthcheck")
_LISTS = frozenset(
    {
        "depends_on",
        "env_file",
        *(
            key
            for key, name in _KEYS.items()
            if name in OPTIONS and OPTIONS[name].kind is OptionKind.LIST
        ),
    }
)


def load(path: str) -> dict[str, Service]:
    """The services in a file, by name.

    A file for one container is named for it, as ``nova_compute.json``.
    Containers that run once, with the action ``exec`` or without ``detach``,
    are left out.

    :raises InvalidFile: for the first mistake.
    """
    top = Value(document.read(path), path)
    containers = dict(top.items())
    if isinstance(top.data, dict) and "image" in top.data:
        name, _ = os.path.splitext(os.path.basename(path))
        containers = {name.removeprefix("hashed-"): top}
    services = {
        name: _service(name, value)
        for name, value in containers.items()
        if _stays(value)
    }
    if not services:
        raise errors.InvalidFile(
            path,
            "has no container that keeps running",
            hint="name the file of one step, or of one container",
        )
    return services


def _stays(value: Value) -> bool:
    keys = dict(value.items())
    action = keys.get("action")
    detach = keys.get("detach")
    once = (action and action.data == "exec") or (
        detach and detach.data is False
    )
    return not once and "image" in keys


def _service(name: str, value: Value) -> Service:
    data: dict[str, Any] = {}
    arguments: list[str] = []
    for key, part in value.items():
        if part.data is None or part.data == []:
            continue
        if (key, part.data) == ("cpuset_cpus", "all"):
            continue  # paunch gives podman no option for it
        if key in _KEYS:
            convert = _CONVERT.get(key, _plain)
            data[_KEYS[key]] = convert(part)
        elif key in _ARGUMENTS:
            arguments.append(f"--{_ARGUMENTS[key]}={_scalar(part)}")
        elif key in _SWITCHES:
            if part.flag():
                arguments.append(f"--{key}")
        elif key == "log_tag":
            data["log_options"] = {"tag": part.text()}
        elif key == "healthcheck":
            arguments += _health(part)
        elif key not in _PAUNCHS:
            raise part.unknown(key, _KNOWN)
    if arguments:
        data["podman_args"] = arguments
    # The key of a mistake is that of the declaration: they are alike.
    return service_from(name, Value(data, value.path, value.key))


def _plain(value: Value) -> Any:
    is_list = value.key.rpartition(".")[2] in _LISTS
    if is_list and not isinstance(value.data, list):
        return [value.data]
    return value.data


def _scalar(value: Value) -> str:
    if isinstance(value.data, bool | list | dict):
        raise value.expected("a string or a number")
    return str(value.data)


def _command(value: Value) -> list[str]:
    """The words of a command; paunch splits a string at blanks."""
    if isinstance(value.data, str):
        return value.data.split()
    return [_scalar(element) for element in value.elements()]


def _environment(value: Value) -> dict[str, Any]:
    if isinstance(value.data, list):
        variables = {}
        for element in value.elements():
            name, _, text = element.text().partition("=")
            variables[name] = text
        return variables
    return {
        # podman is given Python's word for a boolean.
        name: str(part.data) if isinstance(part.data, bool) else part.data
        for name, part in value.items()
        if part.data is not None
    }


def _health(value: Value) -> list[str]:
    arguments = []
    for key, part in value.items():
        if key == "test":
            is_text = isinstance(part.data, str)
            words = part.data if is_text else " ".join(part.texts())
            arguments.append(f"--health-cmd={words}")
        elif key in ("interval", "timeout", "retries", "start_period"):
            name = key.replace("_", "-")
            arguments.append(f"--health-{name}={_scalar(part)}")
        else:
            raise part.unknown(key, _KNOWN)
    return arguments


_CONVERT: Mapping[str, Callable[[Value], Any]] = {
    "command": _command,
    "environment": _environment,
    "labels": _environment,
    "stop_grace_period": Value.whole,
}
