"""Run a command at the end of a block, however the block ends."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator

from imageprep_client import errors
from imageprep_client.programs.process import MakeError

#: Reads until this process closes the pipe, or has ended.
_WAITING = 'cat >/dev/null; exec "$@"'


@contextlib.contextmanager
def afterwards(
    *words: str, error: MakeError
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command after the block, even if this process is killed in it.

    :param error: makes the error when it cannot be run at all.
    :returns: its process, which has an exit status after the block.
    """
    try:
        keeper = subprocess.Popen(  # noqa: S603 - words are arguments
            ["/bin/sh", "-c", _WAITING, words[0], *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as problem:
        raise error(f"{words[0]}: {errors.reason(problem)}") from problem
    with keeper:
        yield keeper
