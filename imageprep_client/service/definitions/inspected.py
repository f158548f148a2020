"""Describe a container by the output of ``podman container inspect``.

Containers that podman's API created have no command line to parse. Options
with the default values of podman are left out.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from imageprep_client.programs.podman import ContainerImage, InspectedContainer
from imageprep_client.service.declaration import OptionValue, Service

#: The name of a volume that podman has named.
ANONYMOUS = re.compile(r"[0-9a-f]{64}")
#: Options of mounts that podman adds to those of the command line.
_MOUNT = "rprivate,rbind"
_VOLUME = "rprivate,nosuid,nodev,rbind"
_TMPFS = "rw,rprivate,nosuid,nodev,tmpcopyup"
_TIMES = {
    "Interval": "health-interval",
    "Timeout": "health-timeout",
    "StartPeriod": "health-start-period",
}
#: Options that are a number or text of ``HostConfig``, with their defaults.
_LIMITS: Mapping[str, tuple[str, tuple[Any, ...]]] = {
    "CpuShares": ("cpu-shares", (0,)),
    "CpuPeriod": ("cpu-period", (0,)),
    "CpuQuota": ("cpu-quota", (0,)),
    "CpusetMems": ("cpuset-mems", ("",)),
    "MemoryReservation": ("memory-reservation", (0,)),
    "MemorySwap": ("memory-swap", (0,)),
    "MemorySwappiness": ("memory-swappiness", (0, -1)),
    "PidsLimit": ("pids-limit", (2048,)),
    "ShmSize": ("shm-size", (65536000,)),
    "OomScoreAdj": ("oom-score-adj", (0,)),
    "BlkioWeight": ("blkio-weight", (0,)),
    "CgroupParent": ("cgroup-parent", ("",)),
    "UsernsMode": ("userns", ("",)),
}
_LISTS = {"Dns": "dns", "DnsOptions": "dns-option", "DnsSearch": "dns-search"}


def parse(
    container: InspectedContainer, image: ContainerImage | None
) -> Service:
    """Describe a container as a service, without image and environment.

    :param image: that of the container; None where it is unknown.
    """
    defaults: Mapping[str, Any] = image.config if image else {}
    return Service(
        name=container.name,
        command=_command(container, defaults),
        options={
            key: value
            for key, value in _options(container, defaults).items()
            if value not in (False, "", (), {})
        },
        podman_args=tuple(_others(container, defaults)),
    )


def _command(
    container: InspectedContainer, defaults: Mapping[str, Any]
) -> tuple[str, ...]:
    command = container.config.get("Cmd") or []
    usual = defaults.get("Cmd") or [], defaults.get("Entrypoint") or []
    return () if (command, _entrypoint(container)) == usual else tuple(command)


def _entrypoint(container: InspectedContainer) -> list[str]:
    """The words before the command; podman may show them as one."""
    if not container.config.get("Entrypoint"):
        return []
    words = [container.data["Path"], *container.data["Args"]]
    command = container.config.get("Cmd") or []
    return words[: len(words) - len(command)]


def _options(
    container: InspectedContainer, defaults: Mapping[str, Any]
) -> dict[str, OptionValue]:
    config, host = container.config, container.host_config
    privileged = bool(host.get("Privileged"))
    user = config.get("User") or ""
    own_user = user != (defaults.get("User") or "")
    memory = host.get("Memory") or 0
    return {
        "privileged": privileged,
        "network": _networks(container),
        "pid": _unless(host.get("PidMode"), "private"),
        "ipc": _ipc(container),
        "uts": _unless(host.get("UTSMode"), "private"),
        "cgroupns": _unless(host.get("CgroupMode"), _cgroup_mode()),
        "user": user if own_user else "",
        "group_add": tuple(host.get("GroupAdd") or ()),
        "hostname": _hostname(container),
        "extra_hosts": tuple(host.get("ExtraHosts") or ()),
        # A privileged container has them all.
        "cap_add": () if privileged else tuple(host.get("CapAdd") or ()),
        "cap_drop": () if privileged else tuple(host.get("CapDrop") or ()),
        "security_opt": tuple(host.get("SecurityOpt") or ()),
        "devices": tuple(map(_device, host.get("Devices") or ())),
        "ulimits": tuple(map(_ulimit, host.get("Ulimits") or ())),
        "memory": f"{memory}b" if memory else "",
        "cpuset": host.get("CpusetCpus") or "",
        "tmpfs": tuple(
            _tmpfs(path, text)
            for path, text in (host.get("Tmpfs") or {}).items()
        ),
        "volumes": tuple(_volumes(container, defaults)),
        "labels": _labels(container, defaults),
        **_log(container),
        "restart": _restart(host),
        **_stopping(container, defaults),
    }


def _unless(value: Any, default: str) -> str:
    return "" if value in (None, default) else str(value)


def _cgroup_mode() -> str:
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    return "private" if unified else "host"


def _networks(container: InspectedContainer) -> tuple[str, ...]:
    mode = str(container.host_config.get("NetworkMode") or "")
    named = container.data.get("NetworkSettings", {}).get("Networks") or {}
    if mode == "bridge" and named:
        return tuple(named)
    return (mode,) if mode else ()


def _ipc(container: InspectedContainer) -> str:
    """podman shows ``shareable`` for the host's namespace, too."""
    if container.is_alive:
        with contextlib.suppress(OSError):
            theirs = os.readlink(f"/proc/{container.pid}/ns/ipc")
            if theirs == os.readlink("/proc/self/ns/ipc"):
                return "host"
    return _unless(container.host_config.get("IpcMode") or "", "shareable")


def _hostname(container: InspectedContainer) -> str:
    name = str(container.config.get("Hostname") or "")
    host = container.host_config
    with_host = "host" in (host.get("NetworkMode"), host.get("UTSMode"))
    if name == container.id[:12] or (
        with_host and name == os.uname().nodename
    ):
        return ""
    return name


def _device(device: Mapping[str, str]) -> str:
    path, inside = device["PathOnHost"], device["PathInContainer"]
    rights = device.get("CgroupPermissions") or ""
    text = path if inside == path and not rights else f"{path}:{inside}"
    return f"{text}:{rights}" if rights else text


def _ulimit(limit: Mapping[str, Any]) -> str:
    name = limit["Name"].replace("RLIMIT_", "").lower()
    return f"{name}={limit['Soft']}:{limit['Hard']}"


def _tmpfs(path: str, text: str) -> str:
    own = text.removesuffix(_TMPFS).rstrip(",")
    return f"{path}:{own}" if own else path


def _volumes(
    container: InspectedContainer, defaults: Mapping[str, Any]
) -> Iterator[str]:
    for bind in container.host_config.get("Binds") or ():
        source, target, *rest = bind.split(":")
        options = rest[0] if rest else ""
        if ANONYMOUS.fullmatch(source):
            if target not in (defaults.get("Volumes") or {}):
                yield target
            continue
        added = _MOUNT if source.startswith("/") else _VOLUME
        own = {f"rw,{added}": "", f"ro,{added}": "ro"}.get(options, options)
        yield f"{source}:{target}:{own}" if own else f"{source}:{target}"


def _labels(
    container: InspectedContainer, defaults: Mapping[str, Any]
) -> dict[str, str]:
    inherited = defaults.get("Labels") or {}
    return {
        name: value
        for name, value in container.labels.items()
        if inherited.get(name) != value
    }


def _log(container: InspectedContainer) -> dict[str, OptionValue]:
    log = container.host_config.get("LogConfig") or {}
    options = {}
    if container.id not in (log.get("Path") or container.id):
        options["path"] = log["Path"]
    if log.get("Tag"):
        options["tag"] = log["Tag"]
    if log.get("Size") not in (None, "", "0B"):
        options["max-size"] = log["Size"].lower()
    return {"log_driver": log.get("Type") or "", "log_options": options}


def _restart(host: Mapping[str, Any]) -> str:
    policy = host.get("RestartPolicy") or {}
    name, times = policy.get("Name") or "", policy.get("MaximumRetryCount")
    return f"{name}:{times}" if name == "on-failure" and times else name


def _stopping(
    container: InspectedContainer, defaults: Mapping[str, Any]
) -> dict[str, OptionValue]:
    signal = container.config.get("StopSignal")
    own = signal not in (None, 15) and not defaults.get("StopSignal")
    return {
        "stop_signal": str(signal) if own else "",
        "stop_timeout": container.stop_timeout,
    }


def _others(
    container: InspectedContainer, defaults: Mapping[str, Any]
) -> Iterator[str]:
    config, host = container.config, container.host_config
    entrypoint = _entrypoint(container)
    if entrypoint != (defaults.get("Entrypoint") or []):
        yield f"--entrypoint={json.dumps(entrypoint)}"
    usual_directories = ("/", "", None, defaults.get("WorkingDir"))
    if config.get("WorkingDir") not in usual_directories:
        yield f"--workdir={config['WorkingDir']}"
    for flag, given in (
        ("tty", config.get("Tty")),
        ("interactive", config.get("OpenStdin")),
        ("read-only", host.get("ReadonlyRootfs")),
        ("oom-kill-disable", host.get("OomKillDisable")),
        ("publish-all", host.get("PublishAllPorts")),
    ):
        if given:
            yield f"--{flag}"
    for key, (option, usual) in _LIMITS.items():
        value = host.get(key)
        # podman doubles the memory for the limit with swap.
        doubled = key == "MemorySwap" and value == 2 * host.get("Memory", 0)
        if value not in (None, *usual) and not doubled:
            yield f"--{option}={value}"
    for key, option in _LISTS.items():
        yield from (f"--{option}={value}" for value in host.get(key) or ())
    for port, places in (host.get("PortBindings") or {}).items():
        for place in places or ():
            parts = (place.get("HostIp"), place.get("HostPort"), port)
            yield "--publish=" + ":".join(part for part in parts if part)
    if config.get("Umask") not in (None, "", "0022"):
        yield f"--umask={config['Umask']}"
    if config.get("Timeout"):
        yield f"--timeout={config['Timeout']}"
    yield from _health(config, defaults)


def _health(
    config: Mapping[str, Any], defaults: Mapping[str, Any]
) -> Iterator[str]:
    check = config.get("Healthcheck")
    if not check or check == defaults.get("Healthcheck"):
        return
    test = check.get("Test") or []
    if test == ["NONE"]:
        yield "--no-healthcheck"
        return
    yield f"--health-cmd={json.dumps(test)}"
    for key, option in _TIMES.items():
        yield f"--{option}={_duration(check.get(key) or 0)}"
    yield f"--health-retries={check.get('Retries') or 0}"
    action = config.get("HealthcheckOnFailureAction") or "none"
    if action != "none":
        yield f"--health-on-failure={action}"


def _duration(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 10**9)
    return f"{nanoseconds}ns" if rest else f"{seconds}s"
