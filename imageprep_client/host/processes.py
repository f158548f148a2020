"""Processes: those that a run started, and who claims something.

A run ends all that it started, also what no longer belongs to it.
Ansible's workers and what they start are in sessions of their own: no signal
to a process group reaches them all. What they have in common is a variable
of the environment, `MARK`, and the directory that they work in.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import platform
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Self

from imageprep_client import errors

#: The variable that a run's processes have in their environment.
MARK = "IMAGEPREP_RUN"
_PID = re.compile("[1-9][0-9]{0,8}")
#: Seconds that killed processes may take to be gone.
_PATIENCE = 10.0
#: Seconds that processes which are left alone may take to end.
_LENIENCE = 120.0


def end_marked(token: str, directory: Path) -> None:
    """Kill the processes that have the mark, or this directory as root.

    With each of them go those that it started. Other users' processes are
    not seen.

    :param token: the value of `MARK`.
    :raises LocalStorageError: when some cannot be ended.
    """
    end = time.monotonic() + _PATIENCE
    while marked := _marked(token, directory):
        if time.monotonic() > end:
            raise errors.LocalStorageError(
                f"{directory}: processes {sorted(marked)} cannot be ended"
            )
        _kill(marked)
        # Another process reaps them: there is nothing to wait on.
        time.sleep(0.01)


def wait_for_marked(
    token: str, program: str, waiting: Callable[[str], None]
) -> None:
    """Wait until the processes of a program that have the mark have ended.

    They are left alone, as killing them would leave half of their work;
    those that take longer than two minutes are killed. Daemons that they
    have started have the mark, too, and are to stay.

    :param token: the value of `MARK`.
    :param program: its name, as the kernel shows it.
    :param waiting: called once, when there are some.
    """
    end = time.monotonic() + _LENIENCE
    told = False
    while running := _of_program(_marked(token, None), program):
        if not told:
            numbers = ", ".join(map(str, sorted(running)))
            waiting(f"processes {numbers} of an interrupted command")
            told = True
        if time.monotonic() > end:
            _kill(running)
        # They are children of others: there is nothing to wait on.
        time.sleep(0.02)


def _kill(processes: Iterable[int]) -> None:
    """Kill processes, none of which goes on when another one has ended.

    A shell would continue with its next command.
    """
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for process in processes:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, number)


def _marked(token: str, directory: Path | None) -> set[int]:
    mark = f"{MARK}={token}".encode()
    children: dict[int, list[int]] = {}
    marked = []
    for path in Path("/proc").iterdir():
        if not path.name.isdigit():
            continue
        process = int(path.name)
        # Processes end, and others' cannot be looked at.
        with contextlib.suppress(OSError):
            state, parent = _status(path)
            if state in "XZ" or process == os.getpid():
                continue
            children.setdefault(parent, []).append(process)
            environment = (path / "environ").read_bytes().split(b"\0")
            if mark in environment or (
                directory
                and Path(os.readlink(path / "root")).is_relative_to(directory)
            ):
                marked.append(process)
    if directory is None:
        return set(marked)
    return _with_children(marked, children)


def _of_program(processes: set[int], program: str) -> list[int]:
    running = []
    for process in processes:
        with contextlib.suppress(OSError):
            name = Path(f"/proc/{process}/comm").read_text().rstrip("\n")
            if name == program:
                running.append(process)
    return running


def _status(path: Path) -> tuple[str, int]:
    """The state of a process and the number of its parent."""
    stat = (path / "stat").read_text()
    state, parent = stat.rpartition(")")[2].split()[:2]
    return state, int(parent)


def _with_children(
    processes: list[int], children: Mapping[int, list[int]]
) -> set[int]:
    everybody = set(processes)
    while processes:
        below = children.get(processes.pop(), [])
        processes.extend(child for child in below if child not in everybody)
        everybody.update(below)
    return everybody


@dataclasses.dataclass(frozen=True, slots=True)
class Claim:
    """The identity of a process, in a text that other hosts read as well.

    :ivar host: the name of its host, for people.
    :ivar machine: a digest that tells hosts of one name apart; empty where
        nothing does.
    :ivar namespace: that of its number, which a container has of its own.
    """

    host: str
    machine: str
    boot: str
    namespace: str
    process: str
    started: str

    @classmethod
    def own(cls) -> Self:
        """The claim of this process."""
        return cls(
            platform.node().encode("ascii", "replace").decode(),
            _machine(),
            _boot(),
            _namespace(),
            str(os.getpid()),
            start(os.getpid()),
        )

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Read the text of a claim; None when it is none."""
        fields = text.rsplit("/", 5)
        if len(fields) != 6 or not _PID.fullmatch(fields[4]):
            return None
        return cls(*fields)

    def __str__(self) -> str:
        return "/".join(dataclasses.astuple(self))

    @property
    def is_alive(self) -> bool | None:
        """Whether the process runs; None where this host cannot tell."""
        if self.boot != _boot():
            # Containers of several hosts may have one name, and no ID.
            restarted = self.machine and self.machine == _machine()
            return False if restarted else None
        if self.namespace != _namespace():
            return None
        if started := start(int(self.process)):
            return started == self.started
        try:
            os.kill(int(self.process), 0)
        except PermissionError:
            # It exists and hides: /proc is mounted with hidepid.
            return True
        except ProcessLookupError:
            pass
        return False


def _machine() -> str:
    """The digest of this host's identity; empty if it has none."""
    with contextlib.suppress(OSError):
        identity = Path("/etc/machine-id").read_bytes().strip()
        if identity not in (b"", b"uninitialized"):
            identity += os.fsencode(platform.node())
            return hashlib.sha256(identity).hexdigest()[:16]
    return ""


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _namespace() -> str:
    return os.readlink("/proc/self/ns/pid")


def start(process: int) -> str:
    """The start of a process in ticks; empty if none is seen to run.

    Together with the PID it identifies a process of this boot.
    """
    try:
        status = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return ""
    fields = status.rpartition(")")[2].split()
    # A zombie may stay for good where nobody reaps it.
    return "" if fields[0] in "ZX" else fields[19]
