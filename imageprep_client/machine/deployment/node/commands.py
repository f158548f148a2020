"""Run commands of a job about the machines of this host.

It runs on a host, and needs Python 3.6 and the standard library. Each line
that it prints is a JSON object about one command.
"""

import json
import platform
import subprocess
import sys


def say(**line):
    """Print a line for the controller."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def run(words):
    """The JSON that a command printed, or None, and the reason for none."""
    try:
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
    except OSError as error:
        return None, "%s: %s" % (words[0], error.strerror.lower())
    out, told = process.communicate()
    lines = told.decode("utf-8", "replace").strip().splitlines()
    lines = [line for line in lines if not line.startswith("hint: ")]
    said = ""
    if process.returncode:
        said = "ended with status %d" % process.returncode
        said = lines[-1][:2000] if lines else said
    try:
        return json.loads(out.decode("utf-8", "replace")), said
    except ValueError:
        return None, said or "it printed no result"


def facts():
    """The distribution and the architecture of this host."""
    distro = ""
    with open("/etc/os-release") as stream:
        for line in stream:
            if line.startswith("ID="):
                distro = line[3:].strip().strip("\"'")
    return {"distro": distro, "machine": platform.machine()}


def main(path):
    """Run the commands of a job, one after the other."""
    with open(path) as stream:
        job = json.load(stream)
    if job["facts"]:
        say(facts=facts())
    states = None
    for command in job["commands"]:
        names = command["names"]
        if command["runs"]:
            if states is None:
                rows, said = run(job["list"])
                states = {row["Name"]: row["State"] for row in rows or []}
            running = [n for n in names if states.get(n) == "running"]
            if not running:
                reason = "no running container on this host"
                say(key=command["key"], result=None, said=said or reason)
                continue
            names = running[:1]
        result, said = run(command["before"] + names + command["after"])
        say(key=command["key"], names=names, result=result, said=said)


main(sys.argv[1])
