"""Programs that run in the background on hosts, and are polled.

One command starts a program on a host, and later commands read the lines that
it has written. They use no module of ansible, which would take ten times as
much processor time on this host.
"""

from __future__ import annotations

import collections
import dataclasses
import importlib.resources
import json
import secrets as random
import shlex
import time
import types
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageprep_client.ansible.events import Event, HostState
from imageprep_client.ansible.session import HostShell, Session
from imageprep_client.host import processes

#: Seconds that a program may take to be reported by the task that starts it.
GRACE = 1.5
#: Seconds between two polls of programs, within bounds: this multiple of the
#: processor time of a poll, and this part of the time until one ends.
PERIOD, _MULTIPLE, _PART = (1.0, 15.0), 5.0, 0.5
#: The further time that a program needs, as a part of its time until now, if
#: nothing else is known.
_LEFT = 0.2
#: Seconds that one host may take to start a program, and to answer a poll.
_START_TIMEOUT, LOOK_TIMEOUT = 60, 15
#: Consecutive polls that may fail before a host is given up; the second one
#: follows at once. A host that is gone is therefore known within a minute.
LOOKS = 2
_LOOK, _START = "look at the program", "start the program"
#: Characters of the message of a program about its failure.
_REASON = 1000
#: Lines that commands print in addition to those of a program.
_BEGIN, _END, _RUNNING, _ENDED = "@begin", "@end", "@running", "@ended"
_PYTHON = (
    "for p in {python} /usr/bin/python3 /usr/libexec/platform-python"
    ' "$(command -v python3)"; do [ -x "$p" ] && break; done;'
    ' exec "$p" -BESs -c \'import json, sys; text = sys.stdin.readline();'
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
    """The result of the program of a job.

    :ivar state: OK if it exited with status 0.
    :ivar reason: one line about a failure.
    """

    host: str
    state: HostState
    reason: str = ""


def pause(spent: float, left: float) -> float:
    """Seconds between a poll of programs and the next one.

    :param spent: seconds of processor time that the last one took.
    :param left: seconds until a program will end, as far as is known.
    """
    least, most = PERIOD
    return min(max(least, _MULTIPLE * spent, _PART * left), most)


class JobObserver:
    """Observes jobs, in one thread; the base class does nothing."""

    def started(self, job: HostJob) -> None:
        """The program of this job was started."""

    def line(self, job: HostJob, line: Mapping[str, Any]) -> None:
        """The program has written a JSON object on a line."""

    def ended(self, job: HostJob, result: JobResult) -> None:
        """The job has its result."""

    def word(self, job: HostJob) -> str:
        """A word for a program that runs, in a file beside it: ``told``."""
        return ""

    def left(self, job: HostJob, age: float) -> float:
        """Estimate the seconds until the program of a job ends.

        :param age: seconds since its start.
        """
        return _LEFT * age

    def looked(self) -> None:
        """All running programs were polled."""


def run_jobs(
    jobs: Sequence[HostJob],
    program: str,
    session: Session,
    *,
    window: int,
    observer: JobObserver,
    grace: float = GRACE,
    modules: Mapping[str, str] = types.MappingProxyType({}),
) -> dict[str, JobResult]:
    """Run a program on hosts, each with its job, and wait for all.

    The program is Python source for the standard library alone, for Python
    3.6 or later; what it prints are lines of JSON objects. The host variable
    ``image_prepare_environment`` is a map of variables for its environment.

    When this is interrupted, the programs are ended.

    :param jobs: one per host.
    :param session: of the inventory that has the hosts.
    :param window: jobs of one lane that run at the same time, at most.
    :param grace: seconds in which programs are expected to end: the command
        that starts one waits for it so long.
    :param modules: the sources of modules that the program imports, by the
        names of their files.
    :returns: the result of each host.
    """
    files = {**modules, "program.py": program}
    return _Jobs(jobs, files, session, window, observer, grace).run()


@dataclasses.dataclass(slots=True)
class _Running:
    """A job whose program was started.

    :ivar directory: the name of the directory of the program.
    :ivar began: when it was started, by the monotonic clock.
    :ivar lines: the lines that were read.
    :ivar missed: looks in a row that failed.
    :ivar end: what the supervisor wrote at the end.
    """

    job: HostJob
    directory: str
    began: float
    lines: int = 0
    missed: int = 0
    has_started: bool = False
    has_ended: bool = False
    end: Mapping[str, Any] | None = None


class _Jobs:
    def __init__(
        self,
        jobs: Sequence[HostJob],
        files: Mapping[str, str],
        session: Session,
        window: int,
        observer: JobObserver,
        grace: float,
    ) -> None:
        node = importlib.resources.files(__package__) / "node"
        self._launch = (node / "launch.py").read_text("utf-8")
        self._files = {
            **files,
            "supervise.py": (node / "supervise.py").read_text("utf-8"),
        }
        self._session = session
        self._window = window
        self._observer = observer
        self._grace = grace
        self._waiting: dict[str, collections.deque[HostJob]] = {}
        for job in jobs:
            lane = self._waiting.setdefault(job.lane, collections.deque())
            lane.append(job)
        self._running: dict[str, _Running] = {}
        self._results: dict[str, JobResult] = {}

    def run(self) -> dict[str, JobResult]:
        try:
            self._run()
        finally:
            if self._running:
                # It may be in the middle of a round.
                self._session.end()
                self._stop()
        return self._results

    def _run(self) -> None:
        while True:
            looks = list(self._running.values())
            starts = list(self._next())
            if not looks and not starts:
                return
            self._start(starts)
            before = self._session.processor
            self._look(looks)
            self._observer.looked()
            if self._running and not any(self._room()):
                self._pause(self._session.processor - before)

    def _pause(self, spent: float) -> None:
        """Wait until the next look."""
        now = time.monotonic()
        running = self._running.values()
        if any(one.missed for one in running):
            time.sleep(pause(0.0, 0.0))
            return
        left = [self._observer.left(r.job, now - r.began) for r in running]
        time.sleep(pause(spent, min(left)))

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
                running = _Running(job, name, time.monotonic())
                self._running[job.host] = running
                yield running

    def _look(self, looks: Sequence[_Running]) -> None:
        """Read the lines of programs that run."""
        commands = {
            r.job.host: HostShell(
                "/bin/sh", [_script(r, "tail", self._observer.word(r.job))]
            )
            for r in looks
        }
        self._round(looks, commands, _LOOK, LOOK_TIMEOUT)

    def _start(self, starts: Sequence[_Running]) -> None:
        """Start programs; those whose jobs have secrets by themselves."""
        common = json.dumps({"files": self._files, "mark": processes.MARK})
        launch = json.dumps(self._launch)
        for is_secret in (False, True):
            own = [r for r in starts if r.job.is_secret is is_secret]
            # The output of a hidden task is not known here.
            grace = 0.0 if is_secret else self._grace
            commands = {
                start.job.host: HostShell(
                    f"/bin/sh -c {shlex.quote(_PYTHON)}",
                    [
                        f"{launch}\n",
                        f"{common}\n",
                        f"{start.directory} {grace}\n",
                        json.dumps(start.job.document),
                    ],
                    has_environment=True,
                )
                for start in own
            }
            self._round(
                *(own, commands, _START, _START_TIMEOUT), is_secret=is_secret
            )

    def _round(
        self,
        jobs: Sequence[_Running],
        commands: Mapping[str, HostShell],
        name: str,
        timeout: int,
        *,
        is_secret: bool = False,
    ) -> None:
        if not jobs:
            return
        waiting = {running.job.host: running for running in jobs}
        silent: set[str] = set()

        def note(event: Event) -> None:
            if event.result.get("timedout"):
                silent.add(event.host)
            if not event.ok:
                return
            if "stdout" in event.result:
                answer = str(event.result["stdout"])
            elif event.result.get("censored"):
                answer = _RUNNING
            else:
                return
            if running := waiting.pop(event.host, None):
                self._take(running, answer)

        result = self._session.run(
            commands,
            name=name,
            timeout=timeout,
            is_secret=is_secret,
            on_event=note,
        )
        for host, running in waiting.items():
            outcome = result.hosts[host]
            state = HostState.UNREACHABLE
            if outcome.state is HostState.FAILED:
                state = HostState.FAILED
            reason = result.reason
            if outcome.failure is not None:
                reason = outcome.failure.message
            if host in silent:
                state = HostState.UNREACHABLE
                reason = f"no answer within {timeout} seconds"
            self._miss(running, state, reason)

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
        except (RecursionError, ValueError):
            return
        end = document.get("end")
        if isinstance(end, Mapping):
            running.end = end
        else:
            self._observer.line(running.job, document)

    def _miss(self, running: _Running, state: HostState, reason: str) -> None:
        """Note that a host did not answer."""
        running.missed += 1
        if not running.has_started or running.missed >= LOOKS:
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
            reason = str(end.get("said") or "")[:_REASON] or (
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
        self._session.run(
            {
                r.job.host: HostShell("/bin/sh", [_script(r, "kill")])
                for r in running
            },
            name="end the program",
            timeout=LOOK_TIMEOUT,
        )


def _script(running: _Running, verb: str, word: str = "") -> str:
    """The text for a shell that looks at a program, or ends it."""
    name = running.directory
    start = f"d=/run/{name}; [ -d $d ] || d=/tmp/{name}; p=$(cat $d/pid)"
    if verb == "kill":
        return f"{start} && kill -KILL -$p; rm -rf $d"
    told = f" echo {shlex.quote(word)} > $d/told;" if word else ""
    return (
        f"{start} || exit 1;{told}"
        f" kill -0 $p 2>/dev/null && s={_RUNNING} || s={_ENDED};"
        f" echo {_BEGIN}; tail -n +{running.lines + 1} $d/lines;"
        f" echo; echo {_END}; echo $s; [ $s = {_RUNNING} ] || rm -rf $d"
    )
