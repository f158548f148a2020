"""Read and write services as Quadlet files.

Only keys that podman 4.4 knows are written; other options are in
``PodmanArgs``.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
from collections.abc import Iterator, Mapping

from imageprep_client import errors
from imageprep_client.host import inputs
from imageprep_client.service.declaration import OPTIONS, Service
from imageprep_client.service.definitions import commandline, rendering

_SECTION = re.compile(r"\[(?P<name>[^\]]+)\]")
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
    "HealthCmd": "health-cmd",
    "HealthInterval": "health-interval",
    "HealthOnFailure": "health-on-failure",
    "HealthRetries": "health-retries",
    "HealthStartPeriod": "health-start-period",
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
    "PublishPort": "publish",
    "SeccompProfile": "security-opt",
    "Secret": "secret",
    "ShmSize": "shm-size",
    "StopSignal": "stop-signal",
    "StopTimeout": "stop-timeout",
    "Sysctl": "sysctl",
    "Timezone": "tz",
    "Tmpfs": "tmpfs",
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
_LABELS = {
    "SecurityLabelFileType": "filetype",
    "SecurityLabelLevel": "level",
    "SecurityLabelType": "type",
}
#: Keys that do not make the container another one.
_WITHOUT_EFFECT = frozenset(
    {"AutoUpdate", "ContainerName", "Notify", "Pull", "ServiceName"}
)
#: Options that Quadlet adds by itself.
_OF_QUADLET = frozenset({"--cgroups=split", "--sdnotify=conmon"})
_SHORT = {"yes", "true", "on", "1"}


def load(path: str) -> Service:
    """The service in a ``.container`` file.

    :raises InvalidFile: for the first mistake.
    """
    text = inputs.load(path).decode(errors="replace")
    sections: dict[str, list[tuple[str, str]]] = {}
    current: list[tuple[str, str]] | None = None
    for number, line in enumerate(_lines(text), 1):
        if match := _SECTION.fullmatch(line):
            current = sections.setdefault(match["name"], [])
            continue
        key, equals, value = line.partition("=")
        if current is None or not equals:
            raise errors.InvalidFile(
                path, f"statement {number} is no Key=value of a section"
            )
        current.append((key.strip(), value.strip()))
    if "Container" not in sections:
        raise errors.InvalidFile(path, "has no section [Container]")
    return _service(path, sections)


def _lines(text: str) -> Iterator[str]:
    """Lines without comments; a backslash at the end joins two."""
    joined = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not joined and (not line or line[0] in "#;"):
            continue
        if line.endswith("\\"):
            joined += line[:-1] + " "
            continue
        yield (joined + line).strip()
        joined = ""
    if joined:
        yield joined.strip()


def _service(
    path: str, sections: Mapping[str, list[tuple[str, str]]]
) -> Service:
    container = sections["Container"]
    last = dict(container)
    stem, _ = os.path.splitext(os.path.basename(path))
    name = last.get("ContainerName") or f"systemd-{stem}"
    if not last.get("Image"):
        raise errors.InvalidFile(path, "is missing", key="Container.Image")
    words = [word for pair in container for word in _words(path, *pair)]
    if last.get("User"):
        group = f":{last['Group']}" if last.get("Group") else ""
        words.append(f"--user={last['User']}{group}")
    restart = dict(sections.get("Service", [])).get("Restart")
    if restart in ("always", "on-failure"):
        # podman does without systemd what the unit does with it.
        words.append(f"--restart={restart}")
    command = _split(path, "Exec", last.get("Exec", ""))
    parsed = commandline.parse([*words, last["Image"], *command], name)
    return dataclasses.replace(parsed.service, image=parsed.image)


def _words(path: str, key: str, value: str) -> Iterator[str]:
    """The options that a key of a container stands for."""
    if key in ("Image", "Exec", "User", "Group", *_WITHOUT_EFFECT):
        return
    if key == "PodmanArgs":
        yield from _split(path, key, value)
    elif key in ("Environment", "Label", "Annotation"):
        option = {"Environment": "env"}.get(key, key.lower())
        for word in _split(path, key, value):
            yield f"--{option}={word}"
    elif key in _FLAGS:
        if value.lower() in _SHORT:
            yield _FLAGS[key]
    elif key in _LABELS:
        yield f"--security-opt=label={_LABELS[key]}:{value}"
    elif key == "SeccompProfile":
        yield f"--security-opt=seccomp={value}"
    elif key in _OPTIONS:
        several = key in ("AddCapability", "DropCapability", "Sysctl")
        for word in value.split() if several else [value]:
            yield f"--{_OPTIONS[key]}={word}"
    else:
        raise errors.InvalidFile(
            path,
            "unknown key",
            key=f"Container.{key}",
            hint="write the option of podman as PodmanArgs=",
        )


def _split(path: str, key: str, value: str) -> list[str]:
    try:
        words = shlex.split(value)
    except ValueError as error:
        raise errors.InvalidFile(
            path, str(error).lower(), key=f"Container.{key}"
        ) from None
    # A percent sign begins a specifier of systemd, twice it is one.
    return [word.replace("%%", "%") for word in words]


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
