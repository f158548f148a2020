"""Run the program of a job, and write how it ended after its lines.

It needs Python 3.6 and the standard library alone.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys


def main(directory):
    """Run the program in a directory to its end."""

    def path(name):
        return os.path.join(directory, name)

    # The end of the program is told, also when its session is ended.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    with open(path("lines"), "a") as lines, open(path("errors"), "w") as told:
        process = subprocess.Popen(
            [sys.executable, path("program.py"), path("job.json")],
            stdin=subprocess.DEVNULL,
            stdout=lines,
            stderr=told,
        )
        status = process.wait()
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path("job.json"))
    with open(path("errors"), errors="replace") as stream:
        said = [line.strip() for line in stream.read()[-4000:].splitlines()]
    said = [line for line in said if line]
    with open(path("lines"), "a") as lines:
        end = {"status": status, "said": said[-1] if said else ""}
        lines.write("\n" + json.dumps({"end": end}) + "\n")


main(sys.argv[1])
