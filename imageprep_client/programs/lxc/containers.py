"""The containers of one lxcpath, by ``lxc-info`` and its kin."""

from __future__ import annotations

import contextlib
import enum
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs.afterwards import afterwards
from imageprep_client.programs.process import Program

_DEFAULT = Path("/var/lib/lxc")


class LxcError(errors.StoreError):
    """LXC failed, or is not installed."""


class LxcState(enum.StrEnum):
    """The states of a container that lxc-info(1) names."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ABORTING = "aborting"
    FREEZING = "freezing"
    FROZEN = "frozen"
    THAWED = "thawed"


def _program(name: str) -> Program:
    return Program(
        name,
        {"LC_ALL": "C.UTF-8"},
        package="lxc",
        error=LxcError,
        hints=(
            ("Permission denied", "run it as root"),
            ("Failed to rsync", "install the package rsync"),
        ),
    )


def default_path() -> Path:
    """The lxcpath of the host."""
    try:
        told = _program("lxc-config").run("lxc.lxcpath", timeout=60).strip()
    except LxcError:
        # Without LXC there are no containers, or they are in the usual place.
        return _DEFAULT
    return Path(told) if told.startswith("/") else _DEFAULT


class LxcContainers:
    """The containers of an lxcpath."""

    def __init__(self, path: Path) -> None:
        self._path = str(path)

    def state(self, name: str) -> LxcState:
        """The state of a container."""
        told = self._run("lxc-info", name, "--no-humanize", "--state")
        try:
            return LxcState(told.strip().lower())
        except ValueError:
            raise LxcError(
                f"lxc-info: {name}: unknown state {told.strip()[:60]!r}"
            ) from None

    def leader(self, name: str) -> int | None:
        """The init of a container; None unless it runs."""
        told = self._run("lxc-info", name, "--no-humanize", "--pid").strip()
        return int(told) if told.isdigit() and int(told) > 0 else None

    def start(self, name: str) -> None:
        """Start a container in the background."""
        self._run("lxc-start", name, "--daemon")

    def stop(self, name: str, seconds: int = 60) -> None:
        """Stop a container cleanly, or kill it after so many seconds."""
        self._run("lxc-stop", name, f"--timeout={seconds}")

    def copy(self, name: str, new: str) -> None:
        """Copy a stopped container, with a snapshot of its root.

        A root in a directory is not copied: the new container has an overlay
        over it.
        """
        self._run(
            "lxc-copy",
            name,
            f"--newname={new}",
            "--snapshot",
            "--logfile=/dev/stderr",
            "--logpriority=ERROR",
        )

    def destroy(self, name: str) -> None:
        """Delete a stopped container with its root."""
        self._run("lxc-destroy", name)

    @contextlib.contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """Freeze all processes of a running container in the block.

        They are thawed at its end, and also if this process is killed.
        """
        words = self._words(name)
        with afterwards("lxc-unfreeze", *words, error=LxcError) as keeper:
            self._run("lxc-freeze", name)
            yield
        if keeper.returncode:
            raise LxcError(
                f"{name}: lxc-unfreeze failed",
                hint=f"run: lxc-unfreeze {' '.join(words)}",
            )

    def _run(self, program: str, name: str, *words: str) -> str:
        return _program(program).run(*self._words(name), *words)

    def _words(self, name: str) -> list[str]:
        return [f"--lxcpath={self._path}", f"--name={name}"]
