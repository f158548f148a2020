"""Run one command before a block and another one after it."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
from collections.abc import Iterator, Sequence

from imageprep_client import errors
from imageprep_client.programs.process import Finished, MakeError

#: Goes on when this process closes the pipe, or has ended. Nobody may be left
#: who reads the status of the first command.
_SCRIPT = """
trap '' PIPE
{before} 2>&1
echo $? 2>/dev/null
exec >/dev/null 2>&1
cat
exec {after}
"""


@contextlib.contextmanager
def around(
    name: str, before: Sequence[str], after: Sequence[str], error: MakeError
) -> Iterator[Finished]:
    """Run a command before the block, and one after it.

    The second one is run even if the first one fails, or if this process is
    interrupted or killed, but not before the first one has ended.

    :param name: the object of both, for messages.
    :param error: makes the error when the second one fails although the
        first one did not.
    :returns: the result of the first one.
    """
    script = _SCRIPT.format(before=shlex.join(before), after=shlex.join(after))
    try:
        keeper = subprocess.Popen(  # noqa: S603 - words are arguments
            ["/bin/sh", "-c", script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
    except OSError as problem:
        raise error(f"{name}: /bin/sh: {errors.reason(problem)}") from problem
    with keeper:
        printed = keeper.stdout.read() if keeper.stdout else ""
        told, _, status = printed.rstrip("\n").rpartition("\n")
        finished = Finished(int(status or 1), told, told)
        yield finished
    if keeper.returncode and not finished.status:
        raise error(
            f"{name}: {' '.join(after[:2])} failed",
            hint=f"run: {shlex.join(after)}",
        )
