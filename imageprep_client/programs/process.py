"""The process of the program: started, read, and ended with us."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import threading
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors

_NOTHING: Mapping[str, str] = types.MappingProxyType({})
#: Seconds between asking it to end and ending it, so that both take less
#: than one.
_GRACE = 0.7
#: Seconds that processes of a killed run may take to end.
_PATIENCE = 5.0
_TAIL = 2000
# A line of its log among its messages.
_LOGGED = re.compile(r'time="[^"]*" level=(?P<level>\w+) msg="(?P<text>.*)"')
_ISOLATION = (
    "inside a container or a virtual machine set BUILDAH_ISOLATION=chroot"
)
_RIGHTS = "run it as root"
#: What its messages have in them, and what helps.
_HINTS = (
    ("cgroups in hybrid mode", _ISOLATION),
    ("creating cgroup", _ISOLATION),
    ("unshare(CLONE_NEW", _ISOLATION),
    ("is not supported over", "set STORAGE_DRIVER=vfs"),
    ("failed to mount overlay", "set STORAGE_DRIVER=vfs"),
    ("no space left on device", "make room in the storage or in TMPDIR"),
    ("permission denied", _RIGHTS),
    ("insufficient UIDs or GIDs", _RIGHTS),
    ("no subuid ranges found", _RIGHTS),
)


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """What a command gave.

    :ivar status: its exit status; negative when a signal ended it.
    """

    status: int
    stdout: str
    stderr: str


class Program:
    """Runs the program; may be used by several threads at once.

    :param program: its name or path.
    :param environment: variables to add to, or replace in, that of this
        process.
    """

    def __init__(
        self,
        program: str = "buildah",
        environment: Mapping[str, str] = _NOTHING,
    ) -> None:
        self._program = program
        self._added = environment
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def environment(self) -> dict[str, str]:
        """All variables that the program is started with."""
        return {**os.environ, **self._added}

    def run(
        self,
        *words: str,
        stdin: bytes | None = None,
        directory: str | os.PathLike[str] | None = None,
        last: bool = False,
    ) -> str:
        """Run it with these arguments and wait.

        It does not share our process group: a Ctrl-C reaches only us. When
        we are interrupted it ends within a second.

        :param directory: where it works, and has its temporary files.
        :param last: run it after `stop` as well: it removes something.
        :returns: what it printed.
        :raises LocalStorageError: when it cannot be started or fails.
        """
        finished = self.attempt(
            *words, stdin=stdin, directory=directory, last=last
        )
        if finished.status:
            raise self._failure(words, _tail(finished.stderr))
        return finished.stdout

    def attempt(
        self,
        *words: str,
        stdin: bytes | None = None,
        directory: str | os.PathLike[str] | None = None,
        last: bool = False,
    ) -> Finished:
        """As `run`, and leave it to the caller what a failure is.

        :raises LocalStorageError: when it cannot be started, or `stop` ended
            it.
        """
        with self._started(words, stdin, directory, last=last) as process:
            try:
                stdout, stderr = process.communicate(stdin)
            except BaseException:
                _end(process)
                raise
        if self._stopped and process.returncode and not last:
            raise self._failure(words, "stopped")
        return Finished(
            process.returncode,
            stdout.decode(errors="replace"),
            stderr.decode(errors="replace"),
        )

    def stop(self) -> None:
        """End what other threads are running; nothing new is started.

        Only what is `last` is: containers and images are removed.
        """
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    @contextlib.contextmanager
    def _started(
        self,
        words: Sequence[str],
        stdin: bytes | None,
        directory: str | os.PathLike[str] | None,
        *,
        last: bool,
    ) -> Iterator[subprocess.Popen[bytes]]:
        with self._lock:
            if self._stopped and not last:
                raise self._failure(words, "stopped")
            process = self._start(words, stdin, directory)
            self._running.add(process)
        try:
            with process:
                yield process
        finally:
            with self._lock:
                self._running.discard(process)

    def _start(
        self,
        words: Sequence[str],
        stdin: bytes | None,
        directory: str | os.PathLike[str] | None,
    ) -> subprocess.Popen[bytes]:
        environment = self.environment
        if directory is not None:
            environment["TMPDIR"] = str(directory)
        try:
            return subprocess.Popen(  # noqa: S603 - no shell is involved
                [self._program, *words],
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=environment,
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise errors.LocalStorageError(
                f"{self._program}: no such program",
                hint="install the package buildah",
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._failure(words, reason.lower()) from None

    def _failure(
        self, words: Sequence[str], reason: str
    ) -> errors.LocalStorageError:
        hints = (hint for part, hint in _HINTS if part in reason)
        return errors.LocalStorageError(
            f"{self._program} {words[0]}: {reason}", hint=next(hints, None)
        )


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process and what it started, whatever they do."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def end_users(name: str) -> None:
    """End the processes that have `name` as a word of their command line.

    They are the program's, of a run that was killed; asked by a signal, they
    end what they run.
    """
    end = time.monotonic() + _PATIENCE
    while (found := _users(name.encode())) and time.monotonic() < end:
        for process in found:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGTERM)
        # They are children of others: there is nothing to wait on.
        time.sleep(0.05)


def _users(word: bytes) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Processes end, and others' may not be looked at.
        with contextlib.suppress(OSError):
            if word in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


def _tail(stderr: str) -> str:
    """The end of what a program complained, as one line."""
    lines = []
    for line in stderr.splitlines():
        logged = _LOGGED.match(line)
        if logged is None:
            lines.append(line.removeprefix("Error: ").strip())
        elif logged["level"] in ("error", "fatal"):
            lines.append(logged["text"])
    told = "; ".join(filter(None, lines))
    return told[-_TAIL:] or "failed without a word"
