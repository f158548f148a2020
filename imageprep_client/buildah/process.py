"""The process of the program: started, read, and ended with us."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import threading
import types
from collections.abc import Iterator, Mapping, Sequence

from imageprep_client import errors

_NOTHING: Mapping[str, str] = types.MappingProxyType({})
#: Seconds between asking it to end and ending it, so that both take less
#: than one.
_GRACE = 0.7
_TAIL = 2000
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
        self._environment = environment
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped = False

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

        :param directory: its working directory.
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
        try:
            return subprocess.Popen(  # noqa: S603 - no shell is involved
                [self._program, *words],
                stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory,
                env={**os.environ, **self._environment},
                start_new_session=True,
            )
        except FileNotFoundError as error:
            raise errors.LocalStorageError(
                f"{self._program}: no such program",
                hint="install the package buildah",
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise self._failure(words, reason.lower()) from error

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


def _tail(stderr: str) -> str:
    """The end of what a program complained, without empty lines."""
    text = stderr.replace("Error: ", "")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines)[-_TAIL:] or "failed without a word"
