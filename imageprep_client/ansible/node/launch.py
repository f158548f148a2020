"""Start a program on a node, detached from the connection.

It is sent over standard input with the program and its job, and needs Python
3.6 and the standard library alone. The program runs below ``supervise.py`` in
a directory that only this user can read.
"""

import contextlib
import json
import os
import stat
import subprocess
import sys
import time

#: Names of directories of programs, and seconds after which one is stale.
PREFIX, STALE = "image-prepare-", 86400


def write(path, text):
    """Write a file that only this user can read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with os.fdopen(os.open(path, flags, 0o600), "w") as stream:
        stream.write(text)


def remove(directory):
    """Remove a directory of a program; the import of shutil takes longer."""
    for path, directories, names in os.walk(directory, topdown=False):
        for name in names:
            os.unlink(os.path.join(path, name))
        for name in directories:
            os.rmdir(os.path.join(path, name))
    os.rmdir(directory)


def remove_stale(parent):
    """Remove what programs left whose host nobody looked at any more."""
    for name in os.listdir(parent):
        path = os.path.join(parent, name)
        if not name.startswith(PREFIX):
            continue
        with contextlib.suppress(OSError, ValueError):
            status = os.lstat(path)
            if (
                status.st_uid != os.getuid()
                or not stat.S_ISDIR(status.st_mode)
                or time.time() - status.st_mtime < STALE
            ):
                continue
            with open(os.path.join(path, "pid")) as stream:
                process = int(stream.read())
            if not os.path.exists("/proc/%d" % process):
                remove(path)


def main(variables, document, words, job):
    """Start the program; print its lines if it ends at once."""
    name, grace = words.split()
    os.umask(0o077)
    parent = "/run" if os.access("/run", os.W_OK) else "/tmp"  # noqa: S108
    remove_stale(parent)
    directory = os.path.join(parent, name)
    os.mkdir(directory, 0o700)
    for name, text in [*sorted(document["files"].items()), ("job.json", job)]:
        write(os.path.join(directory, name), text)
    # Processes with the mark end with the run of ansible.
    environment = dict(os.environ)
    environment.update(variables)
    environment.pop(document["mark"], None)
    process = subprocess.Popen(
        # It needs no package of the site, whose search takes time.
        [sys.executable, "-BESs", os.path.join(directory, "supervise.py")],
        env=environment,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    write(os.path.join(directory, "pid"), str(process.pid))
    end = time.time() + float(grace)
    while process.poll() is None and time.time() < end:
        time.sleep(0.02)
    if process.poll() is None:
        sys.stdout.write("@running\n")
        return
    with open(os.path.join(directory, "lines")) as stream:
        sys.stdout.write(stream.read())
    sys.stdout.write("@ended\n")
    remove(directory)


VARIABLES, DOCUMENT, WORDS, JOB = sys.stdin.read().split("\n")[:4]
main(json.loads(VARIABLES), json.loads(DOCUMENT), WORDS, JOB)
