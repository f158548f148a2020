"""What ansible says while it works, turned into what became of each image."""

from __future__ import annotations

import collections
import json
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.modify import playbook
from imageprep_client.modify.base import Changed, ImageChange
from imageprep_client.observer import ImageOutcome, Observer

#: How much of a log is shown with an image that failed.
LINES = 20
_WIDTH = 300
_FAILED = ("runner_on_failed", "runner_on_unreachable")
_ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_URL_PASSWORD = re.compile(r"(://[^/\s:@]*):[^/\s]*@")
#: What ansible calls the failure of a command, which says nothing.
_EMPTY = ("non-zero return code", "MODULE FAILURE")
_MASK = "***"


class Events:
    """Takes the events of one run of ansible, in its order."""

    def __init__(
        self, changes: Sequence[ImageChange], observer: Observer
    ) -> None:
        self._changes = {
            playbook.host(i): change for i, change in enumerate(changes)
        }
        self._observer = observer
        self._done: set[str] = set()
        self._failures: dict[str, errors.ModifyError] = {}
        self._failed: set[str] = set()
        self._log: collections.deque[str] = collections.deque(maxlen=LINES)
        secrets = {
            form
            for each in changes
            for text in each.secrets
            # A message may have it within a mapping, in either notation.
            for form in (text, repr(text)[1:-1], json.dumps(text)[1:-1])
        }
        # The longest first: one may be a part of another.
        self._secrets = sorted(secrets, key=len, reverse=True)
        self._lock = threading.Lock()

    def take(self, event: Mapping[str, Any]) -> bool:
        """Note one event, as ansible-runner gives it.

        :returns: False: it need not be kept in a file.
        """
        data = event.get("event_data") or {}
        kind, name = event.get("event"), data.get("host")
        with self._lock:
            self._log.extend(self._lines(str(event.get("stdout") or "")))
            if kind == "playbook_on_stats":
                failed = {**data.get("failures", {}), **data.get("dark", {})}
                self._failed.update(failed)
            if name not in self._changes:
                return False
            change = self._changes[name]
            if kind in _FAILED and not data.get("ignore_errors"):
                # A later one is that of a rescue.
                self._failures[name] = self._failure(change, data)
            if kind == "runner_on_ok" and data.get("task") == playbook.DONE:
                self._done.add(name)
                self._observer.image_finished(
                    change.source_image, ImageOutcome.CHANGED
                )
        return False

    def results(self, *, ended: bool) -> Sequence[Changed]:
        """What became of each change.

        :param ended: whether ansible came to its regular end.
        :raises ModifyError: when no image is done, and ansible had no word
            for any of them.
        """
        found = [self._result(*each) for each in self._changes.items()]
        if not ended and not any(each.done or each.error for each in found):
            raise errors.ModifyError(
                f"ansible: {self._reason()}", log=tuple(self._log)
            )
        return found

    def _result(self, name: str, change: ImageChange) -> Changed:
        if name in self._done:
            return Changed(change, True)
        if name in self._failures:
            return Changed(change, False, self._failures[name])
        if name in self._failed:
            error = errors.ModifyError(
                f"{change.source_image}: ansible role {change.ansible_role}"
                f" failed: {self._reason()}",
                log=tuple(self._log),
            )
            return Changed(change, False, error)
        return Changed(change, False)

    def _reason(self) -> str:
        """The line of the log that says most."""
        told = [line for line in self._log if "ERROR" in line.upper()]
        lines = told[:1] or list(self._log)[-1:] or ["it says nothing"]
        return re.sub(r"^\[?ERROR\]?[:!]? *", "", lines[0])

    def _failure(
        self, change: ImageChange, data: Mapping[str, Any]
    ) -> errors.ModifyError:
        """The error of one image, from the event of the task."""
        result = data.get("res") or {}
        log = list(self._output(result))[-LINES:]
        told = result.get("msg") or result.get("reason") or ""
        message = next(self._lines(str(told)), "")
        if not message or message.startswith(_EMPTY):
            message = log[-1] if log else message or "it does not say why"
        message = message.removeprefix(f"{change.source_image}: ")
        return errors.ModifyError(
            f"{change.source_image}: ansible role {change.ansible_role}:"
            f" task {data.get('task')!r} failed: {message}",
            log=tuple(log),
        )

    def _output(self, result: Mapping[str, Any]) -> Iterator[str]:
        """The lines that a task, or the items of a loop, have left."""
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
        """Its lines, without colours and secrets, of bounded length."""
        for secret in self._secrets:
            text = text.replace(secret, _MASK)
        text = _URL_PASSWORD.sub(rf"\1:{_MASK}@", _ESCAPE.sub("", text))
        for line in text.splitlines():
            if line.strip():
                yield line.rstrip()[:_WIDTH]
