"""Run one command before a block and another one after it."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import types
from collections.abc import Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.programs.process import Finished, MakeError

#: Continues when this process closes the pipe, or has ended. The reader of the
#: status may have ended: hence the trap.
_SCRIPT = """
trap '' PIPE
{before} </dev/null 2>&1
printf '\\n%s\\n' $? 2>/dev/null
exec >/dev/null 2>&1
cat
exec {after}
"""


@contextlib.contextmanager
def around(
    name: str,
    before: Sequence[str],
    after: Sequence[str],
    error: MakeError,
    environment: Mapping[str, str] = types.MappingProxyType({}),
) -> Iterator[Finished]:
    """Run a command before the block, and one after it.

    The second one is run even if the first one fails, or if this process is
    interrupted or killed. It is never run before the first one has ended.

    :param name: the object of both, for messages.
    :param environment: variables to add to those of this process.
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
            errors="replace",
            env={**os.environ, **environment},
            start_new_session=True,
        )
    except OSError as problem:
        raise error(f"{name}: /bin/sh: {errors.reason(problem)}") from problem
    with keeper:
        printed = keeper.stdout.read() if keeper.stdout else ""
        told, _, status = printed.rstrip("\n").rpartition("\n")
        code = int(status) if status.isdecimal() else 1
        finished = Finished(code, told, told.rstrip("\n"))
        yield finished
    if keeper.returncode and not finished.status:
        raise error(
            f"{name}: {after[0]} failed", hint=f"run: {shlex.join(after)}"
        )
