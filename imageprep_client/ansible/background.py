"""Programs that run on hosts in the background, and are asked for news.

One task starts a program on a host, whatever the program does: a task of
ansible costs much more of this host's processor than a look at the lines that
the program has written, for which `raw` needs no Python on the host.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib.resources
import json
import secrets as random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageprep_client.ansible import configuration
from imageprep_client.ansible.documents import Unsafe
from imageprep_client.ansible.events import Event, HostState
from imageprep_client.ansible.runner import run
from imageprep_client.host import processes

#: Seconds that a program may take to be reported by the task that starts it.
_GRACE = 1.5
#: Seconds between two looks at a program: a multiple of the duration of a
#: look, within bounds.
_PERIOD, _MULTIPLE = (1.0, 10.0), 1.5
#: Seconds that one host may take for a task.
_START_TIMEOUT, _LOOK_TIMEOUT = 60, 20
#: Looks in a row that may fail before a host is given up.
_LOOKS = 2
_FORKS = 50
_LOOK, _START = "look at the program", "start the program"
#: Lines that commands print beside those of a program.
_BEGIN, _END, _RUNNING, _ENDED = "@begin", "@end", "@running", "@ended"
_PYTHON = (
    "for p in /usr/bin/python3 /usr/libexec/platform-python"
    ' "$(command -v python3)"; do [ -x "$p" ] && break; done;'
    ' exec "$p" -c \'import json, sys; text = sys.stdin.readline();'
    " exec(json.loads(text))'"
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class HostJob:
    """The task of a program on one host.

    :ivar lane: jobs of one lane share its window.
    :ivar document: is given to the program, as a JSON file of mode 0600 that
        its first argument names and that is removed when it ends.
    :ivar is_secret: whether the document has secrets; then ansible shows
        nothing of the task that carries it.
    """

    host: str
    lane: str
    document: Mapping[str, Any]
    is_secret: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class JobResult:
    """How the program of a job ended.

    :ivar state: OK: it exited with status 0.
    :ivar reason: one line about a failure.
    """

    host: str
    state: HostState
    reason: str = ""


class JobObserver:
    """Is told about jobs, by one thread; the base does nothing."""

    def started(self, job: HostJob) -> None:
        """The program of this job was started."""

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        """The program has written a JSON object on a line."""

    def ended(self, job: HostJob, result: JobResult) -> None:
        """The job has its result."""

    def looked(self) -> None:
        """All programs that run were looked at."""


def run_jobs(
    jobs: Sequence[HostJob],
    program: str,
    inventory: str,
    *,
    window: int,
    observer: JobObserver,
    forks: int = _FORKS,
) -> dict[str, JobResult]:
    """Run a program on hosts, each with its job, and wait for all.

    The program is Python source for the standard library alone, for Python
    3.6 or later; what it prints are lines of JSON objects. The host variable
    ``image_prepare_environment`` is a map of variables for its environment.

    When this is interrupted, the programs are ended.

    :param jobs: one per host.
    :param inventory: the path of the inventory that has the hosts.
    :param window: jobs of one lane that run at the same time, at most.
    :returns: the result of each host.
    :raises InvalidArgument: when ansible is not installed.
    """
    configuration.check_installed("hosts cannot be reached")
    return _Jobs(jobs, program, inventory, window, observer, forks).run()


@dataclasses.dataclass(slots=True)
class _Running:
    """A job whose program was started.

    :ivar directory: the name of the directory of the program.
    :ivar lines: the lines that were read.
    :ivar missed: looks in a row that failed.
    :ivar end: what the supervisor wrote at the end.
    """

    job: HostJob
    directory: str
    lines: int = 0
    missed: int = 0
    has_started: bool = False
    has_ended: bool = False
    end: Mapping[str, Any] | None = None


class _Jobs:
    def __init__(
        self,
        jobs: Sequence[HostJob],
        program: str,
        inventory: str,
        window: int,
        observer: JobObserver,
        forks: int,
    ) -> None:
        node = importlib.resources.files(__package__) / "node"
        self._launch = (node / "launch.py").read_text("utf-8")
        self._files = {
            "program.py": program,
            "supervise.py": (node / "supervise.py").read_text("utf-8"),
        }
        self._inventory = inventory
        self._window = window
        self._observer = observer
        self._forks = forks
        self._waiting: dict[str, collections.deque[HostJob]] = {}
        for job in jobs:
            lane = self._waiting.setdefault(job.lane, collections.deque())
            lane.append(job)
        self._running: dict[str, _Running] = {}
        self._results: dict[str, JobResult] = {}

    def run(self) -> dict[str, JobResult]:
        try:
            while True:
                looks = list(self._running.values())
                starts = list(self._next())
                if not looks and not starts:
                    return self._results
                began = time.monotonic()
                self._look(looks, starts)
                spent = time.monotonic() - began
                self._observer.looked()
                pause = min(max(_PERIOD[0], _MULTIPLE * spent), _PERIOD[1])
                if self._running and not any(self._room()):
                    time.sleep(pause)
        finally:
            if self._running:
                self._stop()

    def _room(self) -> Iterator[str]:
        """The lanes that have a job to start, and room in their window."""
        busy = collections.Counter(r.job.lane for r in self._running.values())
        for lane, jobs in self._waiting.items():
            if jobs and busy[lane] < self._window:
                yield lane

    def _next(self) -> Iterator[_Running]:
        """The jobs to start now."""
        while lanes := list(self._room()):
            for lane in lanes:
                job = self._waiting[lane].popleft()
                name = f"image-prepare-{random.token_hex(16)}"
                running = _Running(job, name)
                self._running[job.host] = running
                yield running

    def _look(
        self, looks: Sequence[_Running], starts: Sequence[_Running]
    ) -> None:
        """Start programs, and read the lines of those that run."""
        answers: dict[str, str] = {}
        failures: dict[str, str] = {}

        def note(event: Event) -> None:
            if event.ok and "stdout" in event.result:
                answers[event.host] = str(event.result["stdout"])
            elif event.ok and event.result.get("censored"):
                answers[event.host] = _RUNNING

        result = run(
            [self._play(looks, starts)],
            self._inventory,
            on_event=note,
            forks=min(self._forks, len(looks) + len(starts)),
            limit=",".join(r.job.host for r in (*looks, *starts)),
        )
        for host, outcome in result.hosts.items():
            if outcome.failure is not None:
                failures[host] = outcome.failure.message
        for running in (*looks, *starts):
            host = running.job.host
            if host in answers:
                self._take(running, answers[host])
                continue
            state = HostState.UNREACHABLE
            known = result.hosts.get(host)
            if known is not None and known.state is HostState.FAILED:
                state = HostState.FAILED
            self._miss(running, state, failures.get(host) or result.reason)

    def _play(
        self, looks: Sequence[_Running], starts: Sequence[_Running]
    ) -> dict[str, Any]:
        """One play, with a task for each host."""
        documents: dict[str, str] = {}
        inputs: dict[bool, dict[str, list[str]]] = {False: {}, True: {}}
        for start in starts:
            text = json.dumps(start.job.document)
            # Hosts of one kind have the same document.
            key = documents.setdefault(text, f"job{len(documents)}")
            # The output of a hidden task is not known here.
            grace = 0.0 if start.job.is_secret else _GRACE
            words = [key, f"{start.directory} {grace}"]
            inputs[start.job.is_secret][start.job.host] = words
        tasks: list[dict[str, Any]] = [
            {
                "name": _LOOK,
                "ansible.builtin.raw": "{{ looks[inventory_hostname] }}",
                "when": "inventory_hostname in looks",
                "timeout": _LOOK_TIMEOUT,
                "changed_when": False,
            }
        ]
        for is_secret, name in ((False, "shown"), (True, "hidden")):
            job = f"{name}[inventory_hostname]"
            tasks.append(
                {
                    "name": _START,
                    "ansible.builtin.command": {
                        "argv": ["/bin/sh", "-c", _PYTHON],
                        "stdin": f"{{{{ common }}}}{{{{ {job}[1] }}}}"
                        f"\n{{{{ documents[{job}[0]] }}}}",
                    },
                    "when": f"inventory_hostname in {name}",
                    "environment": "{{ image_prepare_environment"
                    " | default({}) }}",
                    "timeout": _START_TIMEOUT,
                    "no_log": is_secret,
                }
            )
        common = {"files": self._files, "mark": processes.MARK}
        lines = [json.dumps(self._launch), json.dumps(common), ""]
        return {
            "hosts": "all",
            "gather_facts": False,
            "strategy": "free",
            "vars": {
                "looks": {
                    r.job.host: Unsafe(_command(r, "tail")) for r in looks
                },
                "common": Unsafe("\n".join(lines)),
                "documents": {
                    key: Unsafe(text) for text, key in documents.items()
                },
                "shown": inputs[False],
                "hidden": inputs[True],
            },
            "tasks": tasks,
        }

    def _take(self, running: _Running, answer: str) -> None:
        """Use the lines of a program, and note whether it has ended."""
        running.missed = 0
        if not running.has_started:
            running.has_started = True
            self._observer.started(running.job)
        lines = answer.replace("\r", "").split("\n")
        running.has_ended = _ENDED in lines
        if _BEGIN in lines and _END in lines:
            # The text after the last line break may be a part of a line.
            lines = lines[lines.index(_BEGIN) + 1 : lines.index(_END) - 1]
            running.lines += len(lines)
        for line in lines:
            if line.startswith("{"):
                self._line(running, line)
        if running.has_ended:
            self._end(running)

    def _line(self, running: _Running, line: str) -> None:
        try:
            document = json.loads(line)
        except ValueError:
            return
        end = document.get("end")
        if isinstance(end, Mapping):
            running.end = end
        else:
            self._observer.line(running.job, document)

    def _miss(self, running: _Running, state: HostState, reason: str) -> None:
        """Note that a host did not answer."""
        running.missed += 1
        if not running.has_started or running.missed >= _LOOKS:
            self._finish(running, state, reason)

    def _end(self, running: _Running) -> None:
        """Say how a program ended that runs no more."""
        end = running.end
        if end is None:
            reason = "the program was killed before its end"
        elif end.get("status") == 0:
            self._finish(running, HostState.OK, "")
            return
        else:
            reason = str(end.get("said") or "") or (
                f"the program ended with status {end.get('status')}"
            )
        self._finish(running, HostState.FAILED, reason)

    def _finish(
        self, running: _Running, state: HostState, reason: str
    ) -> None:
        job = running.job
        del self._running[job.host]
        result = JobResult(job.host, state, reason)
        self._results[job.host] = result
        self._observer.ended(job, result)

    def _stop(self) -> None:
        """End the programs, as far as their hosts can be reached."""
        running = list(self._running.values())
        play = {
            "hosts": "all",
            "gather_facts": False,
            "strategy": "free",
            "vars": {
                "ends": {
                    r.job.host: Unsafe(_command(r, "kill")) for r in running
                }
            },
            "tasks": [
                {
                    "name": "end the program",
                    "ansible.builtin.raw": "{{ ends[inventory_hostname] }}",
                    "timeout": _LOOK_TIMEOUT,
                }
            ],
        }
        run(
            [play],
            self._inventory,
            forks=min(self._forks, len(running)),
            limit=",".join(r.job.host for r in running),
            timeout=2.0 * _LOOK_TIMEOUT,
        )


def _command(running: _Running, verb: str) -> str:
    """The shell command that looks at a program, or ends it."""
    name = running.directory
    start = f"d=/run/{name}; [ -d $d ] || d=/tmp/{name}; p=$(cat $d/pid)"
    if verb == "kill":
        return f"{start} && kill -KILL -$p; rm -rf $d"
    return (
        f"{start} || exit 1;"
        f" kill -0 $p 2>/dev/null && s={_RUNNING} || s={_ENDED};"
        f" echo {_BEGIN}; tail -n +{running.lines + 1} $d/lines;"
        f" echo; echo {_END}; echo $s; [ $s = {_RUNNING} ] || rm -rf $d"
    )
