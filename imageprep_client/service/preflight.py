"""Checks before a service is stopped."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs.podman import (
    ContainerImage,
    InspectedContainer,
    Podman,
)
from imageprep_client.programs.process import Finished
from imageprep_client.rpm import evr
from imageprep_client.service.declaration import HostRequirements, Service

_PROC = Path("/proc")
#: Characters of a process's name that the kernel keeps.
_COMM = 15
_VERSION = "org.opencontainers.image.version"
#: Seconds that a program may take to say its version.
_PATIENCE = 30.0


def check_host(
    name: str,
    requirements: HostRequirements,
    is_active: Callable[[str], bool],
) -> None:
    """See that the host is as a service needs it.

    :param is_active: whether a unit of systemd runs.
    :raises InvalidArgument: when it is not.
    """
    lacking = [one for one in requirements.modules if not _has_module(one)]
    if lacking:
        raise errors.InvalidArgument(
            f"{name}: kernel modules are not loaded: {', '.join(lacking)}",
            hint=f"load them: modprobe --all {' '.join(lacking)}",
        )
    running = [one for one in requirements.inactive_units if is_active(one)]
    if running:
        raise errors.InvalidArgument(
            f"{name}: units that must not run are active:"
            f" {', '.join(running)}",
            hint=f"stop them: systemctl disable --now {' '.join(running)}",
        )


def _has_module(name: str) -> bool:
    """Whether a module is loaded or built into the kernel."""
    name = name.replace("-", "_")
    if Path("/sys/module", name).is_dir():
        return True
    release = os.uname().release
    builtin = Path("/lib/modules", release, "modules.builtin")
    try:
        lines = builtin.read_text().splitlines()
    except OSError:
        return False
    return any(
        Path(line).name.removesuffix(".ko").replace("-", "_") == name
        for line in lines
    )


def check_survivors(service: Service, container: InspectedContainer) -> None:
    """See that a stop of the container leaves its survivors alone.

    podman signals the processes in the container's control group, and the
    kernel ends a PID namespace with its first process. What has left only
    some of the control groups of version 1 may live, but the stop waits for
    it until its timeout.

    :raises InvalidArgument: when the stop would end one.
    """
    if not service.survivors or not container.is_alive:
        return
    doomed = [
        f"{pid} ({name})"
        for pid, name in _processes(service.survivors)
        if pid != container.pid and _is_inside(pid, container)
    ]
    if doomed:
        raise errors.InvalidArgument(
            f"{service.name}: stopping it would end processes that must"
            f" survive: {', '.join(doomed)}",
            hint="run it with --pid=host and let them leave its control"
            " group, as libvirt does with machined; or --kill-survivors",
        )


def _processes(patterns: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """The processes whose name matches a pattern."""
    for path in _PROC.iterdir():
        if not path.name.isdigit():
            continue
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            comm = (path / "comm").read_text().rstrip("\n")
        except OSError:
            continue
        # The program, a script that it runs, and what the kernel calls it.
        names = [
            os.path.basename(word.decode(errors="replace"))
            for word in words[:2]
        ]
        for pattern in patterns:
            known = [n for n in names if fnmatch.fnmatchcase(n, pattern)]
            if fnmatch.fnmatchcase(comm, pattern[:_COMM]):
                known.append(comm)
            if known:
                yield int(path.name), known[0]
                break


def _is_inside(pid: int, container: InspectedContainer) -> bool:
    """Whether a process ends, or delays a stop, with the container."""
    process = _PROC / str(pid)
    try:
        lines = (process / "cgroup").read_text().splitlines()
        namespace = os.readlink(process / "ns/pid")
        theirs = os.readlink(_PROC / str(container.pid) / "ns/pid")
        ours = os.readlink("/proc/self/ns/pid")
    except OSError:
        return False
    if theirs not in (ours,) and namespace == theirs:
        return True
    group = container.cgroup
    return bool(group) and any(
        path == group or path.startswith(f"{group}/") or container.id in path
        for path in (line.split(":", 2)[2] for line in lines)
    )


def check_downgrade(
    service: Service,
    container: InspectedContainer,
    old: ContainerImage | None,
    new: ContainerImage,
    podman: Podman,
) -> None:
    """See that an image is not older than the one that runs.

    Compared are the versions in the labels of the images and, for libvirt,
    what its daemon says: guests that a newer one has started may be lost to
    an older one.

    :raises InvalidArgument: when it is.
    """
    versions = [
        ("the image", _label(old), _label(new)),
    ]
    if _is_libvirt(service, new) and container.is_alive:
        words = ("libvirtd", "--version")
        versions.append(
            (
                "libvirt",
                _number(podman.exec(container.id, words, _PATIENCE)),
                _number(podman.run_once(new.id, words, _PATIENCE)),
            )
        )
    for what, before, after in versions:
        if before and after and evr.key(after) < evr.key(before):
            raise errors.InvalidArgument(
                f"{service.name}: {what} has version {after}, older than"
                f" {before}, which runs",
                hint="take it nevertheless with --allow-downgrade",
            )


def _label(image: ContainerImage | None) -> str:
    return image.labels.get(_VERSION, "") if image else ""


def _is_libvirt(service: Service, image: ContainerImage) -> bool:
    return any("libvirt" in name for name in (service.name, *image.names))


def _number(finished: Finished) -> str:
    """The version in what a program printed; empty when there is none."""
    match = re.search(r"\d+(\.\d+)+", finished.stdout)
    return match[0] if match and finished.status == 0 else ""
