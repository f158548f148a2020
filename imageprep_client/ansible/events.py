"""The events of a run of ansible, and the result of each host."""

from __future__ import annotations

import collections
import dataclasses
import enum
import json
import re
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from imageprep_client.oci import redaction

#: The number of lines of the log that are kept for a failed host.
LINES = 20
_WIDTH = 300
# Characters that are kept of the end of a text, because hosts and images
# control how much their programs print.
_TEXT = 1 << 18
_FAILED = ("runner_on_failed", "runner_on_unreachable")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
#: Messages of ansible for failed commands without information.
_EMPTY = (
    "non-zero return code",
    "The command exited with a non-zero return code",
    "MODULE FAILURE",
)


class HostState(enum.Enum):
    """The result of a run on one host."""

    OK = "ok"
    FAILED = "failed"
    UNREACHABLE = "unreachable"
    #: The run ended before the host was done, or did not reach it.
    UNFINISHED = "unfinished"


@dataclasses.dataclass(frozen=True, slots=True)
class Event:
    """One step of a run on one host.

    :ivar kind: the type in ansible-runner, such as ``runner_on_ok``.
    :ivar task: the name of the task.
    :ivar result: the result of the module; secrets are not masked.
    """

    kind: str
    host: str
    task: str
    result: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def ok(self) -> bool:
        """Whether the task succeeded."""
        return self.kind == "runner_on_ok"


@dataclasses.dataclass(frozen=True, slots=True)
class HostFailure:
    """The reason why a host failed; secrets are masked.

    :ivar task: the name of the task; None if ansible named none.
    :ivar message: one line.
    :ivar log: the last lines of the task, or of the whole run.
    """

    task: str | None
    message: str
    log: tuple[str, ...] = ()

    def __str__(self) -> str:
        if self.task is None:
            return self.message
        return f"task {self.task!r} failed: {self.message}"


@dataclasses.dataclass(frozen=True, slots=True)
class HostResult:
    """The result of a run on one host.

    :ivar failure: None unless the host failed or is unreachable.
    """

    name: str
    state: HostState
    failure: HostFailure | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    :ivar hosts: the hosts of the inventory, or those with events, by name.
    :ivar complete: whether ansible finished without a failure.
    :ivar reason: one line about a failure that belongs to no host.
    :ivar log: the last lines of the output, without secrets.
    """

    hosts: Mapping[str, HostResult]
    complete: bool
    reason: str
    log: tuple[str, ...]


class Events:
    """Collects the events of one run in their order.

    :param hosts: the known hosts of the inventory.
    :param on_event: is called for each event of a host, in another thread.
    :param secrets: texts that must not appear in messages.
    """

    def __init__(
        self,
        hosts: Collection[str],
        on_event: Callable[[Event], object],
        secrets: Collection[str] = (),
    ) -> None:
        self._hosts = dict.fromkeys(hosts)
        self._on_event = on_event
        self._failures: dict[str, HostFailure] = {}
        self._unreachable: set[str] = set()
        self._stats: dict[str, HostState] = {}
        self._log: collections.deque[str] = collections.deque(maxlen=LINES)
        forms = {
            form
            for text in secrets
            # Messages may contain it inside a mapping, in both notations.
            for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1])
            if form
        }
        # The longest first: one may be a part of another.
        self._secrets = sorted(forms, key=len, reverse=True)
        self._lock = threading.Lock()

    def take(self, event: Mapping[str, Any]) -> bool:
        """Record one event of ansible-runner.

        :returns: False, so that ansible-runner does not keep it in a file.
        """
        data = event.get("event_data") or {}
        kind, name = str(event.get("event")), data.get("host")
        with self._lock:
            self._log.extend(self._lines(str(event.get("stdout") or "")))
            if kind == "playbook_on_stats":
                self._note_stats(data)
            if not isinstance(name, str):
                return False
            self._hosts.setdefault(name)
            if kind in _FAILED and not data.get("ignore_errors"):
                # A later failure is that of a rescue.
                self._failures[name] = self._failure(data)
                if kind == "runner_on_unreachable":
                    self._unreachable.add(name)
            result = data.get("res")
            self._on_event(
                Event(
                    kind,
                    name,
                    str(data.get("task") or ""),
                    result if isinstance(result, Mapping) else {},
                )
            )
        return False

    def result(self, *, complete: bool) -> RunResult:
        """The results at the end of the run.

        :param complete: whether ansible finished without a failure.
        """
        with self._lock:
            return RunResult(
                {name: self._host(name) for name in self._hosts},
                complete,
                self._reason(),
                tuple(self._log),
            )

    def _note_stats(self, data: Mapping[str, Any]) -> None:
        for key, state in (
            ("ok", HostState.OK),
            ("failures", HostState.FAILED),
            ("dark", HostState.UNREACHABLE),
        ):
            self._stats.update(dict.fromkeys(data.get(key) or (), state))

    def _host(self, name: str) -> HostResult:
        state = self._stats.get(name)
        if state is None and name in self._failures:
            state = (
                HostState.UNREACHABLE
                if name in self._unreachable
                else HostState.FAILED
            )
        if state in (None, HostState.OK):
            return HostResult(name, state or HostState.UNFINISHED)
        failure = self._failures.get(name) or HostFailure(
            None, self._reason(), tuple(self._log)
        )
        return HostResult(name, state, failure)

    def _reason(self) -> str:
        """The most informative line of the log."""
        told = [line for line in self._log if "ERROR" in line.upper()]
        lines = told[:1] or list(self._log)[-1:] or ["it says nothing"]
        return re.sub(r"^\[?ERROR\]?[:!]? *", "", lines[0])

    def _failure(self, data: Mapping[str, Any]) -> HostFailure:
        result = data.get("res") or {}
        log = list(self._output(result))[-LINES:]
        told = result.get("msg") or result.get("reason") or ""
        message = next(self._lines(str(told)), "")
        if not message or message.startswith(_EMPTY):
            message = log[-1] if log else message or "it does not say why"
        return HostFailure(str(data.get("task")), message, tuple(log))

    def _output(self, result: Mapping[str, Any]) -> Iterator[str]:
        """The output of a task, or of the failed items of a loop."""
        if result.get("censored"):
            yield "what the task says is not shown, as its role wants"
            return
        for item in result.get("results") or ():
            if isinstance(item, Mapping) and item.get("failed"):
                yield from self._output(item)
        for key in ("stdout", "module_stdout", "stderr", "module_stderr"):
            yield from self._lines(str(result.get(key) or ""))
        message = str(result.get("msg") or result.get("reason") or "")
        if not message.startswith(_EMPTY):
            yield from self._lines(message)

    def _lines(self, text: str) -> Iterator[str]:
        """The last lines of a text without colours and secrets, shortened."""
        if len(text) > _TEXT:
            # It begins with a whole line, so that no part of a secret stays.
            text = text[-_TEXT:].partition("\n")[2]
        text = redaction.masked(text, self._secrets)
        text = redaction.masked(_ESCAPE.sub("", text))
        for line in text.splitlines():
            if line.strip():
                yield line.rstrip()[:_WIDTH]
