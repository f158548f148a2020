"""Read and write services as Quadlet files.

Only keys that podman 4.4 knows are written; other options are in
``PodmanArgs``.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TypeVar

from imageprep_client import errors
from imageprep_client.service.declaration import OPTIONS, Service
from imageprep_client.service.definitions import (
    commandline,
    rendering,
    unitfile,
)

_Value = TypeVar("_Value")

#: Keys of a container, with podman's option for each value.
_OPTIONS = {
    "AddCapability": "cap-add",
    "AddDevice": "device",
    "AddHost": "add-host",
    "Annotation": "annotation",
    "CgroupsMode": "cgroups",
    "ContainersConfModule": "module",
    "DNS": "dns",
    "DNSOption": "dns-option",
    "DNSSearch": "dns-search",
    "DropCapability": "cap-drop",
    "Entrypoint": "entrypoint",
    "EnvironmentFile": "env-file",
    "ExposeHostPort": "expose",
    "GIDMap": "gidmap",
    "GroupAdd": "group-add",
    "HealthCmd": "health-cmd",
    "HealthInterval": "health-interval",
    "HealthLogDestination": "health-log-destination",
    "HealthMaxLogCount": "health-max-log-count",
    "HealthMaxLogSize": "health-max-log-size",
    "HealthOnFailure": "health-on-failure",
    "HealthRetries": "health-retries",
    "HealthStartPeriod": "health-start-period",
    "HealthStartupCmd": "health-startup-cmd",
    "HealthStartupInterval": "health-startup-interval",
    "HealthStartupRetries": "health-startup-retries",
    "HealthStartupSuccess": "health-startup-success",
    "HealthStartupTimeout": "health-startup-timeout",
    "HealthTimeout": "health-timeout",
    "HostName": "hostname",
    "IP": "ip",
    "IP6": "ip6",
    "LogDriver": "log-driver",
    "LogOpt": "log-opt",
    "Memory": "memory",
    "Mount": "mount",
    "Network": "network",
    "NetworkAlias": "network-alias",
    "PidsLimit": "pids-limit",
    "Pod": "pod",
    "PublishPort": "publish",
    "Secret": "secret",
    "ShmSize": "shm-size",
    "StopSignal": "stop-signal",
    "StopTimeout": "stop-timeout",
    "SubGIDMap": "subgidname",
    "SubUIDMap": "subuidname",
    "Sysctl": "sysctl",
    "Timezone": "tz",
    "Tmpfs": "tmpfs",
    "UIDMap": "uidmap",
    "Ulimit": "ulimit",
    "UserNS": "userns",
    "Volume": "volume",
    "WorkingDir": "workdir",
}
#: Keys that are true or false.
_FLAGS = {
    "EnvironmentHost": "--env-host",
    "NoNewPrivileges": "--security-opt=no-new-privileges",
    "ReadOnly": "--read-only",
    "RunInit": "--init",
    "SecurityLabelDisable": "--security-opt=label=disable",
}
#: Keys with podman's security option for each value.
_SECURITY = {
    "Mask": "mask=",
    "SeccompProfile": "seccomp=",
    "SecurityLabelFileType": "label=filetype:",
    "SecurityLabelLevel": "label=level:",
    "SecurityLabelType": "label=type:",
    "Unmask": "unmask=",
}
#: Keys that do not make the container another one.
_WITHOUT_EFFECT = frozenset(
    {
        *("AutoUpdate", "ContainerName", "Notify", "Pull", "ReloadCmd"),
        *("ReloadSignal", "Retry", "RetryDelay", "ServiceName"),
        "StartWithPod",
    }
)
#: Options that Quadlet adds by itself.
_OF_QUADLET = frozenset({"--cgroups=split", "--sdnotify=conmon"})
#: Keys that are true where they are not given.
_ON_BY_DEFAULT = {
    "HttpProxy": "--http-proxy",
    "ReadOnlyTmpfs": "--read-only-tmpfs",
}
_TRUE = {"yes", "true", "on", "1"}
#: Keys that name units by their files, with the section of each and what goes
#: before podman's name for it: ``systemd-NAME``, or as the section says.
_UNITS = {
    ("Network", ".container"): ("Container", "container:"),
    ("Network", ".network"): ("Network", ""),
    ("Pod", ".pod"): ("Pod", ""),
    ("Volume", ".volume"): ("Volume", ""),
}


def load(path: str) -> Service:
    """The service in a ``.container`` file.

    Specifiers have the values that they have in a unit of the system.

    :raises InvalidFile: for the first mistake.
    """
    sections = unitfile.load(path)
    if "Container" not in sections:
        raise errors.InvalidFile(path, "has no section [Container]")
    stem, _ = os.path.splitext(os.path.basename(path))
    container = [
        (key, _read(path, f"Container.{key}", unitfile.expand, value, stem))
        for key, value in sections["Container"]
    ]
    last = dict(container)
    name = last.get("ContainerName") or f"systemd-{stem}"
    if not last.get("Image"):
        raise errors.InvalidFile(path, "is missing", key="Container.Image")
    if last["Image"].endswith((".image", ".build")):
        raise errors.InvalidFile(
            path,
            f"{last['Image']} is another unit, which is not read",
            key="Container.Image",
            hint="write the name of the image that it pulls or builds",
        )
    words = [word for pair in container for word in _words(path, *pair)]
    if last.get("User"):
        group = f":{last['Group']}" if last.get("Group") else ""
        words.append(f"--user={last['User']}{group}")
    restart = dict(sections.get("Service", [])).get("Restart")
    if restart in ("always", "on-failure"):
        # podman does without systemd what the unit does with it.
        words.append(f"--restart={restart}")
    command = _read(
        path, "Container.Exec", unitfile.split, last.get("Exec", "")
    )
    try:
        parsed = commandline.parse(
            ["podman", "create", *words, last["Image"], *command], name
        )
    except errors.InvalidArgument as error:
        raise errors.InvalidFile(path, str(error), hint=error.hint) from None
    return dataclasses.replace(parsed.service, image=parsed.image)


def _read(
    path: str, key: str, read: Callable[..., _Value], *arguments: str
) -> _Value:
    """The result of a reader for a value; an error names the key."""
    try:
        return read(*arguments)
    except ValueError as error:
        raise errors.InvalidFile(path, str(error), key=key) from None


def _words(path: str, key: str, value: str) -> Iterator[str]:
    """The options that a key of a container stands for."""
    if key in ("Image", "Exec", "User", "Group", *_WITHOUT_EFFECT):
        return
    if key == "PodmanArgs":
        yield from _read(path, f"Container.{key}", unitfile.split, value)
    elif key in ("Environment", "Label", "Annotation"):
        option = {"Environment": "env"}.get(key, key.lower())
        for word in _read(path, f"Container.{key}", unitfile.split, value):
            yield f"--{option}={word}"
    elif key in _FLAGS:
        if value.lower() in _TRUE:
            yield _FLAGS[key]
    elif key in _ON_BY_DEFAULT:
        if value.lower() not in _TRUE:
            yield f"{_ON_BY_DEFAULT[key]}=false"
    elif key in _SECURITY:
        yield f"--security-opt={_SECURITY[key]}{value}"
    elif key in _OPTIONS:
        several = key in ("AddCapability", "DropCapability", "Sysctl")
        for word in value.split() if several else [value]:
            yield f"--{_OPTIONS[key]}={_named(path, key, word)}"
    else:
        raise errors.InvalidFile(
            path,
            "unknown key",
            key=f"Container.{key}",
            hint="write the option of podman as PodmanArgs=",
        )


def _named(path: str, key: str, value: str) -> str:
    """A value with the file that it names, or podman's name for its unit."""
    directory = os.path.dirname(os.path.abspath(path))
    name, colon, rest = value.partition(":")
    if key == "EnvironmentFile":
        return os.path.join(directory, value)
    if key == "Volume" and name.startswith("."):
        source = os.path.normpath(os.path.join(directory, name))
        return f"{source}{colon}{rest}"
    stem, suffix = os.path.splitext(name)
    if (key, suffix) not in _UNITS:
        return value
    section, prefix = _UNITS[key, suffix]
    own = os.path.join(directory, name)
    sections = unitfile.load(own) if os.path.exists(own) else {}
    given = dict(sections.get(section, [])).get(f"{section}Name")
    if given:
        given = _read(
            own, f"{section}.{section}Name", unitfile.expand, given, stem
        )
    return f"{prefix}{given or f'systemd-{stem}'}{colon}{rest}"


def render(service: Service, image: str, environment_files: list[str]) -> str:
    """The ``.container`` file of a service.

    :param environment_files: files with values that are given nowhere else.
    """
    lines = [
        "[Unit]",
        f"Description={service.name} container",
        *(f"After={name}.service" for name in service.depends_on),
        *(f"Wants={name}.service" for name in service.depends_on),
        "",
        "[Container]",
        f"ContainerName={service.name}",
        f"Image={image}",
    ]
    arguments: list[str] = []
    for key, value in service.options.items():
        option = OPTIONS[key]
        if key in ("restart", "stop_timeout"):
            continue
        if key == "user" and _is_plain_user(str(value)):
            user, _, group = str(value).partition(":")
            lines.append(f"User={user}")
            lines += [f"Group={group}"] if group else []
        elif option.quadlet and isinstance(value, Mapping):
            lines += [
                f"{option.quadlet}={_quoted(f'{name}={text}')}"
                for name, text in value.items()
            ]
        elif option.quadlet and isinstance(value, tuple):
            lines += [f"{option.quadlet}={_escaped(one)}" for one in value]
        else:
            arguments += rendering.option_words(option, value)
    for path in (*service.env_file, *environment_files):
        lines.append(f"EnvironmentFile={_escaped(path)}")
    for name, text in service.environment.items():
        lines.append(f"Environment={_quoted(f'{name}={text}')}")
    timeout = service.options.get("stop_timeout")
    if timeout is not None:
        arguments.append(f"--stop-timeout={timeout}")
    for word in (*arguments, *service.podman_args):
        if word not in _OF_QUADLET:
            lines.append(f"PodmanArgs={_quoted(word)}")
    if service.command:
        lines.append("Exec=" + " ".join(map(_quoted, service.command)))
    restart = (service.text("restart") or "no").partition(":")[0]
    restart = "always" if restart == "unless-stopped" else restart
    lines += ["", "[Service]", f"Restart={restart}"]
    if isinstance(timeout, int):
        # systemd may not end what podman still gives time to.
        lines.append(f"TimeoutStopSec={timeout + 10}")
    lines += ["", "[Install]", "WantedBy=multi-user.target"]
    return "\n".join(lines) + "\n"


def _is_plain_user(text: str) -> bool:
    return re.fullmatch(r"[\w.-]+(:[\w.-]+)?", text) is not None


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    """A word as units of systemd have it."""
    text = _escaped(text)
    if re.fullmatch(r"[\w@%+=:,./-]+", text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    escaped = escaped.replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
