"""Checks before a service is stopped."""

from __future__ import annotations

import contextlib
import dataclasses
import fnmatch
import glob
import ipaddress
import os
import re
from collections.abc import Callable, Iterator, Sequence
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
from imageprep_client.service.definitions import commandline

_PROC = Path("/proc")
#: Characters of a process's name that the kernel keeps.
_COMM = 15
_VERSION = "org.opencontainers.image.version"
#: The state of a socket that takes connections.
_LISTENS = "0A"
#: Between the parts of a published port, not inside of an IPv6 address.
_SEPARATOR = re.compile(r":(?![^\[]*\])")
#: Seconds that a program may take to say its version.
_PATIENCE = 30.0


def check_host(
    name: str, requirements: HostRequirements, is_active: Callable[[str], bool]
) -> None:
    """Check that the host is as a service needs it.

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


def check_ports(
    service: Service, container: InspectedContainer | None
) -> None:
    """Check that nothing else listens on the ports of a service.

    These are the published ones, and those that the declaration names for a
    service in the network of the host.

    :param container: the one that runs and may listen; None for none.
    :raises InvalidArgument: when another process does.
    """
    wanted = dict.fromkeys(service.preflight.ports, "")
    for address, port in _published(service):
        wanted.setdefault(port, address)
    if not wanted:
        return
    listening = [
        one
        for one in _listeners()
        if one.port in wanted and _overlap(one.address, wanted[one.port])
    ]
    held = sorted(
        f"{one.port} ({_told(owners)})"
        for one in listening
        for owners in [_owners(one.inode)]
        if not (container and _is_own(owners, container))
    )
    if held:
        raise errors.InvalidArgument(
            f"{service.name}: another process listens on a port that it"
            f" needs: {', '.join(dict.fromkeys(held))}",
            hint="stop that process first",
        )


@dataclasses.dataclass(frozen=True, slots=True)
class _Listener:
    """A socket of the host that takes connections.

    :ivar address: as the kernel writes it, only zeros for any.
    """

    address: str
    port: int
    inode: str


def _listeners() -> Iterator[_Listener]:
    for name in ("tcp", "tcp6"):
        try:
            lines = (_PROC / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            address, _, port = fields[1].partition(":")
            if fields[3] == _LISTENS:
                yield _Listener(address, int(port, 16), fields[9])


def _overlap(address: str, wanted: str) -> bool:
    """Whether a listener is in the way of an IPv4 address, or of any."""
    if not address.strip("0"):
        return True
    packed = ipaddress.ip_address(wanted or "0.0.0.0").packed  # noqa: S104
    if not any(packed):
        return True
    words = [packed[i : i + 4][::-1] for i in range(0, len(packed), 4)]
    return address == b"".join(words).hex().upper()


def _published(service: Service) -> Iterator[tuple[str, int]]:
    """The addresses, empty for all, and ports of the host."""
    # An unknown option may take the first of the two for its value.
    given = [*service.podman_args, "image", "image"]
    words = commandline.parse(given, service.name)
    for word in words.service.podman_args:
        option, _, value = word.partition("=")
        address, port, inside = (["", "", *_SEPARATOR.split(value)])[-3:]
        if option != "--publish" or inside.endswith(("/udp", "/sctp")):
            continue
        first, _, last = port.partition("-")
        if first.isdigit():
            for number in range(int(first), int(last or first) + 1):
                yield address.strip("[]"), number


def _owners(inode: str) -> list[int]:
    """The processes that have a socket open; none when it is not known."""
    wanted = f"socket:[{inode}]"
    owners = set()
    # Unlike that of Path, this glob bears processes that end meanwhile.
    for path in glob.iglob(f"{_PROC}/[0-9]*/fd/*"):
        with contextlib.suppress(OSError):
            if os.readlink(path) == wanted:
                owners.add(int(path.split("/")[-3]))
    return sorted(owners)


def _is_own(processes: Sequence[int], container: InspectedContainer) -> bool:
    """Whether one is of the container, or publishes ports for it."""
    return container.is_alive and any(
        process in (container.pid, container.conmon)
        or _is_inside(process, container)
        for process in processes
    )


def _told(processes: Sequence[int]) -> str:
    if not processes:
        return "of an unknown process"
    name = ""
    with contextlib.suppress(OSError):
        name = (_PROC / str(processes[0]) / "comm").read_text().strip()
    return f"process {processes[0]}, {name}" if name else "gone"


def check_survivors(service: Service, container: InspectedContainer) -> None:
    """Check that a stop of the container leaves its survivors alone.

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
    """Check that an image is not older than the one that runs.

    Compared are the versions in the labels of the images and, for libvirt,
    what its daemon says: guests that a newer one has started may be lost to
    an older one.

    :raises InvalidArgument: when it is.
    """
    versions = [("the image", _label(old), _label(new))]
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
