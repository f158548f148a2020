"""Run the program of a job, and write how it ended after its lines.

It needs Python 3.6 and the standard library alone. The program is a fork of
it: the start of another Python would take longer than many a program.
"""

import contextlib
import json
import os
import signal
import sys

DIRECTORY = os.path.dirname(os.path.abspath(__file__))
FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


def path(name):
    """The path of a file beside this one."""
    return os.path.join(DIRECTORY, name)


def wait(process):
    """Wait for the program, and tell its end."""
    # The end of the program is told, also when its session is ended.
    for number in SIGNALS:
        signal.signal(number, lambda *_: None)
    _, status = os.waitpid(process, 0)
    if os.WIFEXITED(status):
        status = os.WEXITSTATUS(status)
    else:
        status = -os.WTERMSIG(status)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path("job.json"))
    with open(path("errors"), errors="replace") as stream:
        said = [line.strip() for line in stream.read()[-4000:].splitlines()]
    said = [line for line in said if line]
    with open(path("lines"), "a") as lines:
        end = {"status": status, "said": said[-1] if said else ""}
        lines.write("\n" + json.dumps({"end": end}) + "\n")


def become_program():
    """Be the program from now on."""
    for name, number in (("lines", 1), ("errors", 2)):
        stream = os.open(path(name), FLAGS, 0o600)
        os.dup2(stream, number)
        os.close(stream)
    sys.argv = [path("program.py"), path("job.json")]
    with open(sys.argv[0], encoding="utf-8") as stream:
        code = compile(stream.read(), sys.argv[0], "exec")
    exec(code, {"__name__": "__main__", "__file__": sys.argv[0]})  # noqa: S102


PROCESS = os.fork()
if PROCESS:
    wait(PROCESS)
else:
    become_program()
