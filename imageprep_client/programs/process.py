"""Running other programs within bounds, with one kind of error each.

A program package, such as `programs.buildah`, describes its program once, as
a `Program` with its own kind of error and its hints, and calls
`run`, `attempt`, `json` or `stream` with the words of the command line::

    podman = Program(
        "podman",
        package="podman",
        error=errors.StoreError,
        hints=(("no such container", "look at: podman ps --all"),),
    )
    containers = podman.json("ps", "--all", "--format", "json")
    podman.run("stop", "--", name, timeout=60)

No shell is involved. Others on the host can read the command line and, as
the same user, the environment of a process: pass secrets through `stdin`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import threading
import time
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypedDict, Unpack

from imageprep_client import errors
from imageprep_client.oci import redaction
from imageprep_client.programs.exchange import Ended, Lines, communicate

_NOTHING: Mapping[str, str] = types.MappingProxyType({})
#: Bytes that a program may print to standard output.
OUTPUT = 64 << 20
#: Bytes that are kept of the end of standard error.
COMPLAINTS = 1 << 20
#: Seconds between SIGTERM and SIGKILL, so that both take less than one.
_GRACE = 0.7
#: Seconds that processes of a killed run may take to end.
_PATIENCE = 5.0
_TAIL = 2000
#: The words of programs for what is full; `os.strerror` may translate them.
_FULL = {
    errno.ENOSPC: "No space left on device",
    errno.EDQUOT: "Disk quota exceeded",
}
# How programs written in Go log between their messages.
_LOGGED = re.compile(r'time="[^"]*" level=(?P<level>\w+) msg="(?P<text>.*)"')


def _ignore() -> None:
    """Watch nothing."""


class MakeError(Protocol):
    """Makes the error of a program; subclasses of `ImagePrepError` do."""

    def __call__(
        self, message: str, *, hint: str | None = None
    ) -> errors.ImagePrepError: ...


class RunOptions(TypedDict, total=False):
    """The options of one command.

    :ivar stdin: standard input of the program; empty by default.
    :ivar directory: its working directory, which also has its temporary
        files.
    :ivar timeout: seconds after which it is ended, with an error.
    :ivar limit: bytes that it may write to standard output; with more it is
        ended, with an error. `Program.stream` has no limit.
    :ivar last: whether it is run after `Program.stop` as well, because it
        removes something.
    """

    stdin: bytes | None
    directory: str | os.PathLike[str] | None
    timeout: float | None
    limit: int
    last: bool


@dataclasses.dataclass(frozen=True, slots=True)
class Finished:
    """The result of a command.

    :ivar status: its exit status; negative when a signal ended it.
    :ivar stdout: all that it printed; empty for `Program.stream`.
    :ivar stderr: the end of what it printed there.
    """

    status: int
    stdout: str
    stderr: str


class Program:
    """A program; may be used by several threads at once.

    Each process is started in a session of its own: Ctrl-C reaches only this
    process. When this process is interrupted, the program and what it
    started in its session end within a second.

    :param program: its name or path.
    :param environment: variables to add to, or replace in, that of this
        process.
    :param package: what to install when there is no such program.
    :param error: makes the error of a failed command, with the last messages
        of the program.
    :param hints: remedies, each after a part of the messages that it applies
        to; the first that matches is shown.
    """

    def __init__(
        self,
        program: str,
        environment: Mapping[str, str] = _NOTHING,
        *,
        package: str | None = None,
        error: MakeError = errors.StoreError,
        hints: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._program = program
        self._added = environment
        self._package = package or program
        self._error = error
        self._hints = hints
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    @property
    def environment(self) -> dict[str, str]:
        """All variables that the program is started with."""
        return {**os.environ, **self._added}

    def check_installed(self) -> None:
        """Check that there is such a program.

        :raises ImagePrepError: that of the program, as when it is run.
        """
        if not shutil.which(self._program):
            raise self._missing()

    def _missing(self) -> errors.ImagePrepError:
        return self._error(
            f"{self._program}: no such program",
            hint=f"install the package {self._package}",
        )

    def run(self, *words: str, **options: Unpack[RunOptions]) -> str:
        """Run the program with these arguments and wait.

        :returns: its output.
        :raises ImagePrepError: that of the program, when it cannot be
            started or fails.
        """
        finished = self.attempt(*words, **options)
        if finished.status:
            raise self.failure(words, tail(finished.stderr))
        return finished.stdout

    def json(self, *words: str, **options: Unpack[RunOptions]) -> Any:
        """Run the program, and parse its output as JSON.

        :raises ImagePrepError: also when the output is not JSON.
        """
        return self.parsed(words, self.run(*words, **options))

    def parsed(self, words: Sequence[str], told: str) -> Any:
        """Parse the output of a command as JSON.

        :raises ImagePrepError: when it is not JSON.
        """
        try:
            return json.loads(told)
        except (ValueError, RecursionError):
            raise self.failure(words, f"not JSON: {told[:100]!r}") from None

    def attempt(
        self,
        *words: str,
        watch: Callable[[], object] = _ignore,
        **options: Unpack[RunOptions],
    ) -> Finished:
        """As `run`, for a command whose failure the caller judges.

        :param watch: is called about twice a second while the program runs;
            an exception of it ends the program and is passed on.
        :raises ImagePrepError: that of the program, when it cannot be
            started, exceeds a limit, or `stop` ended it.
        """
        collected = bytearray()
        limit = options.get("limit", OUTPUT)

        def collect(data: bytes) -> None:
            collected.extend(data)
            if len(collected) > limit:
                raise Ended(f"prints more than {limit} bytes")

        status, stderr = self._attempt(words, collect, watch, options)
        return Finished(status, collected.decode(errors="replace"), stderr)

    def stream(
        self,
        *words: str,
        on_line: Callable[[str], None],
        **options: Unpack[RunOptions],
    ) -> Finished:
        """As `attempt`, with each line of standard output as it is written.

        :param on_line: is called in this thread, with lines without their
            ends. An exception of it ends the program and is passed on.
        """
        lines = Lines(on_line)
        status, stderr = self._attempt(words, lines.take, _ignore, options)
        lines.end()
        return Finished(status, "", stderr)

    def stop(self) -> None:
        """End what other threads are running; nothing new is started.

        Only commands with `last` are still run: they remove what others
        made.
        """
        with self._lock:
            self._stopped = True
            running = list(self._running)
        for process in running:
            _end(process)

    def failure(
        self, words: Sequence[str], reason: str
    ) -> errors.ImagePrepError:
        """The error of a failed command; passwords in URLs are masked.

        :param words: those of the command line; the first one is shown.
        """
        hints = (hint for part, hint in self._hints if part in reason)
        command = " ".join([self._program, *words[:1]])
        return self._error(
            redaction.masked(f"{command}: {reason}"), hint=next(hints, None)
        )

    def _attempt(
        self,
        words: Sequence[str],
        on_output: Callable[[bytes], None],
        watch: Callable[[], object],
        options: RunOptions,
    ) -> tuple[int, str]:
        complaints = bytearray()

        def complain(data: bytes) -> None:
            complaints.extend(data)
            del complaints[:-COMPLAINTS]

        with self._started(words, options) as process:
            try:
                communicate(
                    process,
                    options.get("stdin"),
                    on_output,
                    complain,
                    options.get("timeout"),
                    watch,
                )
            except Ended as error:
                raise self.failure(words, str(error)) from None
        if self._stopped and process.returncode and not options.get("last"):
            raise self.failure(words, "stopped")
        return process.returncode, complaints.decode(errors="replace")

    @contextlib.contextmanager
    def _started(
        self, words: Sequence[str], options: RunOptions
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A process, which is ended when the block fails."""
        process = None
        try:
            with self._lock, _uninterrupted():
                if self._stopped and not options.get("last"):
                    raise self.failure(words, "stopped")
                process = self._start(words, options)
                self._running.add(process)
            yield process
        except BaseException:
            if process is not None:
                _end(process)
            raise
        finally:
            if process is not None:
                self._forget_process(process)

    def _forget_process(self, process: subprocess.Popen[bytes]) -> None:
        with self._lock:
            self._running.discard(process)
        for stream in (process.stdin, process.stdout, process.stderr):
            with contextlib.suppress(BrokenPipeError):
                if stream:
                    stream.close()

    def _start(
        self, words: Sequence[str], options: RunOptions
    ) -> subprocess.Popen[bytes]:
        environment = self.environment
        directory = options.get("directory")
        if directory is not None:
            environment["TMPDIR"] = str(directory)
        try:
            return subprocess.Popen(  # noqa: S603 - no shell is involved
                [self._program, *words],
                stdin=subprocess.DEVNULL
                if options.get("stdin") is None
                else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env=environment,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise self._missing() from error
        except (OSError, ValueError) as error:
            raise self.failure(words, errors.reason(error)) from None


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Handle signals that came in the block at its end.

    Their handlers may raise, and a process that runs before anything knows
    of it would stay.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    caught: list[int] = []

    def catch(number: int, _: object) -> None:
        caught.append(number)

    before = {
        number: signal.signal(number, catch)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if callable(signal.getsignal(number))
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        for came in caught:
            signal.raise_signal(came)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and those of its session."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE)


def end_users(name: str) -> None:
    """End the processes that have `name` as a word of their command line.

    They are programs of a killed run; SIGTERM lets them end what they run.
    """
    end = time.monotonic() + _PATIENCE
    while (users := _users(name.encode())) and time.monotonic() < end:
        for process in users:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(process, signal.SIGTERM)
        # They are children of others: there is nothing to wait on.
        time.sleep(0.05)


def _users(word: bytes) -> list[int]:
    users = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # Processes end, and others' may not be looked at.
        with contextlib.suppress(OSError):
            if word in path.read_bytes().split(b"\0"):
                users.append(int(path.parent.name))
    return users


def raise_full(told: str) -> None:
    """Turn the message of a program that has no room into an error.

    :param told: in English.
    :raises OSError: when it says that a file system or a quota is full.
    """
    for number, words in _FULL.items():
        if words in told:
            raise OSError(number, words)


def tail(stderr: str) -> str:
    """The last messages of a program, as one line."""
    lines = []
    for line in stderr.splitlines():
        logged = _LOGGED.match(line)
        if logged is None:
            lines.append(line.removeprefix("Error: ").strip())
        elif logged["level"] in ("error", "fatal"):
            lines.append(logged["text"])
    told = "; ".join(filter(None, lines))
    return told[-_TAIL:] or "failed without a word"
