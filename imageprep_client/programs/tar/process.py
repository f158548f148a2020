"""A running GNU tar, with a pipe to or from it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from typing import IO

from imageprep_client import errors

#: Options for owners, extended attributes, capabilities and ACLs.
FAITHFUL = (
    "--numeric-owner",
    "--xattrs",
    "--xattrs-include=*",
    "--acls",
    "--sparse",
)
ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
_LINES = 1000
_PIPE_SIZE = 1 << 20


class TarError(errors.StoreError):
    """GNU tar failed, or is not installed."""


class TarProcess:
    """A process whose messages are collected while a pipe of it is used.

    :ivar lines: the messages, without the name of the program; the first
        thousand.
    """

    def __init__(
        self, words: Sequence[str], *, stdin: int, stdout: int
    ) -> None:
        try:
            self._process = subprocess.Popen(  # noqa: S603 - without a shell
                words,
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
                env=ENVIRONMENT,
                start_new_session=True,
                bufsize=0,
            )
        except FileNotFoundError as error:
            raise TarError(
                f"{words[0]}: no such program", hint="install tar"
            ) from error
        except OSError as error:
            raise TarError(f"tar: {errors.reason(error)}") from error
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._collect)
        self._reader.start()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                widen(stream)

    @property
    def stdin(self) -> IO[bytes]:
        return _existing(self._process.stdin)

    @property
    def stdout(self) -> IO[bytes]:
        return _existing(self._process.stdout)

    def _collect(self) -> None:
        with _existing(self._process.stderr) as stream:
            for line in iter(stream.readline, b""):
                if len(self.lines) < _LINES:
                    text = line.decode(errors="replace").strip()
                    self.lines.append(text.removeprefix("tar: "))

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def wait(self) -> int:
        """The exit status, when it has ended."""
        status = self._process.wait()
        self._reader.join()
        return status

    def end(self) -> None:
        """Kill it, unless it has ended."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()
        self.wait()


def widen(stream: IO[bytes]) -> None:
    """Enlarge the buffer of a pipe, so that its two ends wait less."""
    import fcntl

    # Without the right to exceed the limit of the host, it stays smaller.
    with contextlib.suppress(PermissionError):
        fcntl.fcntl(stream.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_SIZE)


def _existing(stream: IO[bytes] | None) -> IO[bytes]:
    if stream is None:
        raise TarError("tar: has no such pipe")
    return stream
