"""Run programs that read untrusted data, within limits.

The size of the output and of all files that a program writes is limited, as
are its memory and its time. It has no standard input, and of the open files
of this process only those that it is given.
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
from imageprep_client.programs.process import raise_full

MIB = 1024**2
_TAIL = 500
#: Bytes of messages that are kept in any case.
_MESSAGES = 64 * 1024


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The resources that a program may use.

    :ivar seconds: processor time; the elapsed time may be twice as long.
    :ivar memory: bytes of address space.
    :ivar written: bytes of each file that it writes.
    """

    seconds: int = 20
    memory: int = 1024 * MIB
    written: int = 4 * MIB


class Output(NamedTuple):
    """The output of a program."""

    stdout: bytes
    stderr: str


class Exceeded(errors.ImagePrepError):
    """A program exceeded a limit."""


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

    It has a process group of its own: Ctrl-C reaches only this process, which
    then ends the program.

    :param package: the package of the program.
    :param files: descriptors that it inherits.
    :param destination: a new file for its standard output.
    :raises InvalidArgument: when it is not installed.
    :raises Exceeded: when it exceeds `limits`.
    :raises OSError: when its messages say that a file system or a quota is
        full.
    :raises ProgramFailed: when it fails otherwise.
    """
    command = _limited(words, limits, package)
    with (
        _stdout(destination) as stdout,
        tempfile.TemporaryFile() as stderr,
        subprocess.Popen(  # noqa: S603 - no shell is involved
            command,
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
    raise_full(told)
    reason = "; ".join(lines)[-_TAIL:] or f"ended with status {status}"
    raise ProgramFailed(f"{words[0]}: {reason}")


def _limited(words: Sequence[str], limits: Limits, package: str) -> list[str]:
    """The command line that runs a program within limits.

    :raises InvalidArgument: when it is not installed.
    """
    program, *arguments = words
    if "/" not in program:
        program = _found(program, package)
    return [
        _found("prlimit", "util-linux"),
        f"--as={limits.memory}",
        f"--cpu={limits.seconds}",
        f"--fsize={max(limits.written, _MESSAGES)}",
        "--core=0",
        "--",
        program,
        *arguments,
    ]


def _found(program: str, package: str) -> str:
    path = shutil.which(program, path=_path())
    if path is None:
        raise errors.InvalidArgument(
            f"{program}: no such program", hint=f"install {package}"
        )
    return path


def _stdout(destination: Path | None) -> IO[bytes]:
    return destination.open("xb+") if destination else tempfile.TemporaryFile()


def _path() -> str:
    """The search path of programs; those of e2fsprogs are in sbin."""
    path = os.environ.get("PATH", os.defpath)
    return os.pathsep.join([path, "/usr/sbin", "/sbin"])
