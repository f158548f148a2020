"""Units of systemd, by ``systemctl``."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.programs.around import around
from imageprep_client.programs.process import Program

_VERSION = re.compile(r"systemd (?P<number>[0-9]{1,5})\b")
#: Made by systemd as the first process; sd_booted(3).
_RUNNING = "/run/systemd/system"


class SystemdError(errors.StoreError):
    """systemd failed, or is not installed."""


_SYSTEMCTL = Program("systemctl", package="systemd", error=SystemdError)


def version() -> int:
    """The version of the installed systemd.

    :raises SystemdError: when there is none.
    """
    told = _SYSTEMCTL.run("--version")
    match = _VERSION.match(told)
    if match is None:
        raise SystemdError(f"systemctl --version: prints {told[:60]!r}")
    return int(match["number"])


def is_running() -> bool:
    """Whether systemd is the first process of this host."""
    return os.path.isdir(_RUNNING)


def reload() -> None:
    """Reload the configuration of systemd, if it is running."""
    if is_running():
        _SYSTEMCTL.run("daemon-reload")


def enable(unit: str) -> None:
    """Enable a unit, so that it starts with the host."""
    _SYSTEMCTL.run("enable", "--quiet", "--", unit)


def start(unit: str) -> None:
    """Start a unit, and wait until it has started."""
    _SYSTEMCTL.run("start", "--", unit)


def stop(unit: str, seconds: int) -> None:
    """Stop a unit cleanly within these seconds, else by force."""
    try:
        _SYSTEMCTL.run("stop", "--", unit, timeout=seconds)
    except SystemdError:
        _SYSTEMCTL.run("kill", "--signal=SIGKILL", "--", unit, last=True)
        _SYSTEMCTL.run("stop", "--", unit, last=True)


@contextlib.contextmanager
def frozen(unit: str) -> Iterator[bool]:
    """Freeze the processes of a unit in the block, where systemd can.

    That needs the unified hierarchy of cgroups. They are thawed at the end of
    the block, and also if this process is killed.

    :returns: whether they are frozen.
    """
    freeze = ("systemctl", "freeze", "--", unit)
    thaw = ("systemctl", "thaw", "--", unit)
    with around(unit, freeze, thaw, SystemdError) as frozen:
        yield frozen.status == 0


def restart(unit: str) -> None:
    """Stop a unit if it runs, start it, and wait until it has started."""
    _SYSTEMCTL.run("restart", "--", unit)


def reload_files() -> None:
    """Reload the configuration of systemd, and run its generators."""
    _SYSTEMCTL.run("daemon-reload")


def allow_start(unit: str) -> None:
    """Let a unit start that has failed, or was started too often lately."""
    # A unit that systemd does not know is an error of the start.
    _SYSTEMCTL.attempt("reset-failed", "--", unit)


def halt(unit: str) -> None:
    """Stop a unit, within the timeout of the unit."""
    _SYSTEMCTL.run("stop", "--", unit)


def is_active(unit: str) -> bool:
    """Whether a unit runs; False on a host without systemd."""
    return _told(unit, "ActiveState") in ("active", "activating", "reloading")


def is_loaded(unit: str) -> bool:
    """Whether systemd knows a unit; False on a host without systemd."""
    return _told(unit, "LoadState") == "loaded"


def _told(unit: str, name: str) -> str:
    """A property of a unit; empty on a host without systemd."""
    if shutil.which("systemctl") is None:
        return ""
    words = ("show", f"--property={name}", "--value", "--", unit)
    return _SYSTEMCTL.attempt(*words).stdout.strip()
