"""Run commands of podman, and end them when they hang.

It needs Python 3.6 and the standard library alone.
"""

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time

#: Seconds between two looks at a command.
PERIOD = 5


class Failed(Exception):
    """A command failed; its reason is the text."""


def run(words, timeout, environment=None, watch=None, note=None):
    """The output of a podman command, and its log.

    It is ended with all that it started when it says nothing for longer, or a
    registry that is watched is gone. ``note`` is called with each line.
    """
    try:
        process = subprocess.Popen(
            ["podman", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
    except OSError as error:
        raise Failed("podman: %s" % error.strerror.lower()) from error
    lines = queue.Queue()
    log = []
    readers = [
        threading.Thread(target=read, args=(process.stdout, lines.put)),
        threading.Thread(target=read, args=(process.stderr, log.append)),
    ]
    for reader in readers:
        reader.daemon = True
        reader.start()
    out = []
    end = time.time() + timeout
    while True:
        try:
            line = lines.get(timeout=PERIOD)
        except queue.Empty:
            reason = watch.lost if watch else ""
            if time.time() > end:
                reason = "took longer than %d seconds" % timeout
            if reason:
                kill(process)
                raise Failed(reason) from None
            continue
        if line is None:
            break
        out.append(line)
        end = time.time() + timeout
        if note:
            note(line.strip())
    process.wait()
    readers[1].join()
    told = "".join(filter(None, log))
    if process.returncode:
        lines = told.strip().splitlines()
        lines = [line for line in lines if not line.startswith("time=")]
        reason = lines[-1] if lines else "status %d" % process.returncode
        raise Failed(reason[:1000])
    return "".join(out), told


def read(stream, put):
    """Pass on the lines of a stream, and None at its end."""
    with stream:
        for line in stream:
            put(line.decode("utf-8", "replace"))
    put(None)


def kill(process):
    """End a process, and all that it started."""
    for number in [*children(process.pid), process.pid]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(number, signal.SIGKILL)
    process.wait()


def children(parent):
    """The processes that a process has started, and that these have."""
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/stat" % name) as stream:
                stat = stream.read()
        except OSError:
            continue  # it has ended
        if int(stat.rpartition(")")[2].split()[1]) == parent:
            found += [int(name), *children(int(name))]
    return found
