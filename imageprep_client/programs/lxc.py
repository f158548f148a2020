"""Containers of LXC, by ``lxc-info`` and the like."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs.around import around
from imageprep_client.programs.process import Program, tail

_DEFAULT = Path("/var/lib/lxc")
#: The exit status of lxc-stop for a container that does not run.
_NOT_RUNNING = 2
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}


class LxcError(errors.StoreError):
    """LXC failed, or is not installed."""


def _program(name: str) -> Program:
    return Program(
        name,
        _ENVIRONMENT,
        package="lxc",
        error=LxcError,
        hints=(
            ("Permission denied", "run it as root"),
            (
                "Failed to rsync",
                "install the package rsync if it is missing, and look at the"
                " free space",
            ),
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


class LxcContainer:
    """A container of an lxcpath."""

    def __init__(self, path: Path, name: str) -> None:
        self._name = name
        self._words = [f"--lxcpath={path}", f"--name={name}"]

    def state(self) -> str:
        """Its state, such as ``stopped``, ``running`` or ``frozen``."""
        told = self._run("lxc-info", "--no-humanize", "--state")
        return told.strip().lower() or "unknown"

    def leader(self) -> int | None:
        """The init of the container; None unless it runs."""
        told = self._run("lxc-info", "--no-humanize", "--pid").strip()
        return int(told) if told.isdigit() and int(told) > 0 else None

    def start(self) -> None:
        self._run("lxc-start", "--daemon")

    def stop(self, seconds: int) -> None:
        """Stop it cleanly, or kill it after so many seconds; it need not run.

        :raises LxcError: when ``lxc-start`` is missing; the container then
            still runs.
        """
        _program("lxc-start").check_installed()
        program = _program("lxc-stop")
        words = (*self._words, f"--timeout={seconds}")
        told = program.attempt(*words)
        if told.status not in (0, _NOT_RUNNING):
            raise program.failure(words, tail(told.stderr))

    def copy(self, new: str) -> None:
        """Copy the stopped container, with a snapshot of its root.

        A root in a directory is not copied: the new container has an overlay
        over it.
        """
        self._run(
            *("lxc-copy", f"--newname={new}", "--snapshot"),
            *("--logfile=/dev/stderr", "--logpriority=ERROR"),
        )

    def destroy(self) -> None:
        """Delete the stopped container with its root."""
        self._run("lxc-destroy")

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Freeze all processes of the running container in the block.

        They are thawed at its end, and also if this process is killed. A
        container stays frozen when ``lxc-freeze`` is killed: ``lxc-unfreeze``
        does nothing before the container is wholly frozen.
        """
        freeze = ("lxc-freeze", *self._words)
        thaw = ("lxc-unfreeze", *self._words)
        _program(freeze[0]).check_installed()
        with around(
            self._name, freeze, thaw, LxcError, _ENVIRONMENT
        ) as frozen:
            if frozen.status:
                raise _program(freeze[0]).failure(
                    self._words, tail(frozen.stderr)
                )
            yield

    def _run(self, program: str, *words: str) -> str:
        return _program(program).run(*self._words, *words)
