"""Stopping, starting and checking machines."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Protocol

from imageprep_client import errors
from imageprep_client.machine.roots import MachineRoot
from imageprep_client.programs import lxc, systemd
from imageprep_client.programs.process import Program

#: Seconds between two checks of a machine.
_INTERVAL = 0.05
#: Seconds that a machine must run before it counts as healthy.
_SETTLED = 2.0
#: Seconds for one attempt of the check.
_CHECK_TIMEOUT = 30.0
#: Output of the check that is kept.
_OUTPUT = 1 << 20


class MachineError(errors.StoreError):
    """A machine cannot be stopped or started, or is not healthy."""


class Runtime(Protocol):
    """Runs one machine."""

    def leader(self) -> int | None:
        """The first process of the machine; None unless it runs."""
        ...

    def stop(self, seconds: int) -> None:
        """Stop it: cleanly within these seconds, else by force."""
        ...

    def start(self) -> None: ...


class UnitRuntime:
    """A machine that systemd runs by its template unit for containers."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._unit = systemd.machine_unit(name)

    def leader(self) -> int | None:
        if not systemd.is_running():
            return None
        return systemd.machine_leader(self._name)

    def stop(self, seconds: int) -> None:
        systemd.stop(self._unit, seconds)

    def start(self) -> None:
        systemd.start(self._unit)


def of(root: MachineRoot) -> Runtime:
    """The runtime of the machine that has a root."""
    if root.is_lxc:
        return lxc.LxcContainer(root.store.path, root.name)
    return UnitRuntime(root.name)


def addresses(leader: int | None) -> Mapping[str, frozenset[str]]:
    """The IP addresses of a machine, by interface; without link-local ones.

    :param leader: its first process.
    """
    if leader is None or _has_network_of_host(leader):
        return {}
    program = Program("nsenter", package="util-linux", error=MachineError)
    finished = program.attempt(
        f"--net=/proc/{leader}/ns/net", "--", "ip", "-json", "address"
    )
    if finished.status:
        return {}
    try:
        interfaces = json.loads(finished.stdout or "[]")
    except ValueError:
        return {}
    by_interface: dict[str, frozenset[str]] = {}
    for interface in interfaces:
        own = frozenset(
            address["local"]
            for address in interface.get("addr_info", ())
            if address.get("scope") == "global" and "local" in address
        )
        if own:
            by_interface[str(interface.get("ifname"))] = own
    return by_interface


def _has_network_of_host(leader: int) -> bool:
    try:
        return os.readlink(f"/proc/{leader}/ns/net") == os.readlink(
            "/proc/self/ns/net"
        )
    except OSError:
        return True


def wait_until_well(
    runtime: Runtime,
    before: Mapping[str, frozenset[str]],
    check: str | None,
    name: str,
    seconds: float,
) -> None:
    """Wait until a machine runs, has its addresses and passes the check.

    It also has to run for two seconds on end with one and the same first
    process.

    :param before: the addresses that it had. Each interface has to have as
        many again; DHCP may have given others.
    :param check: a command for the shell of this host, with the name of the
        machine in ``MACHINE``; it is repeated until it succeeds.
    :param seconds: the time for all of it.
    :raises MachineError: when it is not well in time.
    """
    end = time.monotonic() + seconds
    leader = runtime.leader()
    since = time.monotonic()
    if leader is None:
        raise MachineError(f"{name}: ended as soon as it was started")
    checked = check is None
    while True:
        if runtime.leader() != leader:
            raise MachineError(f"{name}: its init ended or was restarted")
        missing = _missing(before, addresses(leader))
        problem = f"has no address on {missing[0]}" if missing else ""
        if not problem and not checked:
            problem = _check(str(check), name, end)
            checked = not problem
        if not problem and time.monotonic() - since >= min(_SETTLED, seconds):
            return
        if time.monotonic() >= end:
            told = problem or "did not settle"
            raise MachineError(f"{name}: {told} after {seconds:g} s")
        time.sleep(_INTERVAL)


def _missing(
    before: Mapping[str, frozenset[str]], now: Mapping[str, frozenset[str]]
) -> list[str]:
    return [
        interface
        for interface, own in before.items()
        if len(now.get(interface, ())) < len(own)
    ]


def _check(command: str, name: str, end: float) -> str:
    """Run the check once; the problem, empty when it succeeds."""
    left = max(0.1, min(_CHECK_TIMEOUT, end - time.monotonic()))
    shell = Program("sh", {"MACHINE": name}, error=MachineError)
    try:
        finished = shell.attempt("-c", command, timeout=left, limit=_OUTPUT)
    except MachineError as error:
        return f"fails the check: {error}"
    if finished.status == 0:
        return ""
    lines = (finished.stderr or finished.stdout).strip().splitlines()
    said = f": {lines[-1][:200]}" if lines else ""
    return f"fails the check with status {finished.status}{said}"
