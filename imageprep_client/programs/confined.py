"""Programs that read what nobody trusts, within limits.

What such a program prints goes to a file whose size is limited like that of
all other files it writes; its memory and its time are limited, too. It gets
no standard input and none of this process's files but those it is given.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, NamedTuple

from imageprep_client import errors

MIB = 1024**2
_TAIL = 500
#: Bytes that a program may say in any case.
_MESSAGES = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """What a program may use.

    :ivar seconds: of processor time; twice as much may pass.
    :ivar memory: bytes of address space.
    :ivar written: bytes of each file that it writes.
    """

    seconds: int = 20
    memory: int = 1024 * MIB
    written: int = 4 * MIB


class Output(NamedTuple):
    """What a program printed."""

    stdout: bytes
    stderr: str


class Exceeded(errors.ImagePrepError):
    """A program went over a limit."""


class ProgramFailed(errors.ImagePrepError):
    """A program that reads an image ended with an error."""


def run(
    words: Sequence[str],
    limits: Limits,
    *,
    package: str,
    files: Sequence[int] = (),
    destination: Path | None = None,
) -> Output:
    """Run a program and wait for its end.

    It does not share our process group: a Ctrl-C reaches only us, and then
    it ends.

    :param package: what has the program.
    :param files: descriptors that it inherits.
    :param destination: a new file for what it prints on standard output.
    :raises InvalidArgument: when it is not installed.
    :raises Exceeded: when it needed more than `limits`.
    :raises ProgramFailed: when it failed otherwise.
    """
    program: str | None = words[0]
    if "/" not in words[0]:
        program = shutil.which(words[0], path=_path())
    limiter = shutil.which("prlimit", path=_path())
    if program is None or limiter is None:
        missing = words[0] if program is None else "prlimit"
        raise errors.InvalidArgument(
            f"{missing}: no such program",
            hint=f"install {package if program is None else 'util-linux'}",
        )
    with (
        _stdout(destination) as stdout,
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(  # noqa: S603 - no shell is involved
            [
                limiter,
                f"--as={limits.memory}",
                f"--cpu={limits.seconds}",
                f"--fsize={max(limits.written, _MESSAGES)}",
                "--core=0",
                "--",
                program,
                *words[1:],
            ],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env={"PATH": _path(), "LC_ALL": "C.UTF-8"},
            pass_fds=files,
            start_new_session=True,
        ) as process,
    ):
        try:
            status = process.wait(2 * limits.seconds)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise Exceeded(f"{words[0]}: took too long") from None
            raise
        stdout.seek(0)
        stderr.seek(0)
        told = stderr.read(_MESSAGES).decode(errors="replace")
        if status == 0:
            return Output(b"" if destination else stdout.read(), told)
    if -status in (signal.SIGXCPU, signal.SIGXFSZ, signal.SIGKILL):
        what = "too much output" if -status == signal.SIGXFSZ else "too long"
        raise Exceeded(f"{words[0]}: {what}")
    lines = [line.strip() for line in told.splitlines() if line.strip()]
    reason = "; ".join(lines)[-_TAIL:] or f"ended with status {status}"
    raise ProgramFailed(f"{words[0]}: {reason}")


def _stdout(destination: Path | None) -> IO[bytes]:
    return destination.open("xb+") if destination else tempfile.TemporaryFile()


def _path() -> str:
    """Where programs are: those of e2fsprogs are in sbin."""
    path = os.environ.get("PATH", os.defpath)
    return os.pathsep.join([path, "/usr/sbin", "/sbin"])
