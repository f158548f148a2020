"""Runs a command and writes what it took, as JSON, to a file::

    python -I -S child.py RESULT COMMAND [ARGUMENT...]

The peak of a process is never below that of the process that started it, so
this one has to be small: it imports next to nothing. Exit status: that of
the command.
"""

import os
import sys
import time


def main(result: str, command: list[str]) -> int:
    began = time.perf_counter()
    child = os.fork()
    if not child:
        try:
            os.execvp(command[0], command)  # noqa: S606 - no shell is meant
        finally:
            os._exit(127)
    _, status, usage = os.wait4(child, 0)
    seconds = time.perf_counter() - began
    processor = usage.ru_utime + usage.ru_stime
    with open(result, "w", encoding="ascii") as file:
        file.write(
            f'{{"seconds": {seconds}, "processor": {processor},'
            f' "peak": {usage.ru_maxrss * 1024}}}\n'
        )
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
