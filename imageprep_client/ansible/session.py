"""Rounds of commands on hosts, by one ansible process."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.resources
import json
import math
import os
import queue
import secrets as random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Self

from imageprep_client.ansible import configuration, inventories
from imageprep_client.ansible.events import Event, Events, RunResult
from imageprep_client.host import processes

#: The hosts that ansible works with at once.
FORKS = 50
#: Seconds that ansible may take for a round beside its commands: it reads
#: the inventory in the first one.
_GRACE = 300.0
#: Seconds between two looks at the process.
_PERIOD = 2.0
#: Characters of a line of the log.
_LINE = 4096


@dataclasses.dataclass(frozen=True, slots=True)
class HostShell:
    """A command for the shell of a host.

    :ivar command: ``{python}`` in it is the interpreter that the inventory
        has for the host, or empty.
    :ivar input: texts that are joined to its standard input; texts that
        several hosts have are sent to ansible once.
    :ivar has_environment: whether the host variable
        ``image_prepare_environment``, as JSON on a line, is to come after
        the first of these texts.
    """

    command: str
    input: Sequence[str]
    has_environment: bool = False


class Session:
    """One process of ansible; use it as a context manager.

    It starts when it is first needed, and anew after it was ended or has
    died. The user's configuration of ansible applies. All processes that were
    started on this host have ended when the block does.

    :param paths: of inventories, one at least.
    :param forks: the maximum number of hosts at once.
    :ivar processor: seconds of processor time that its rounds have taken.
    """

    def __init__(self, *paths: str, forks: int = FORKS) -> None:
        self.processor = 0.0
        self._given = paths
        self._paths: list[str] = []
        self._forks = forks
        self._mark = f"session-{random.token_hex(8)}"
        self._stack = contextlib.ExitStack()
        self._process: subprocess.Popen[str] | None = None
        self._private = Path()
        self._events: queue.SimpleQueue[Mapping[str, Any] | None]

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._paths = [
                stack.enter_context(inventories.readable(path))
                for path in self._given
            ]
            directory = tempfile.TemporaryDirectory(
                prefix="ansible-", ignore_cleanup_errors=True
            )
            self._private = Path(stack.enter_context(directory))
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        try:
            self.end()
        finally:
            self._stack.close()

    def run(
        self,
        commands: Mapping[str, HostShell],
        *,
        name: str,
        timeout: int,
        is_secret: bool = False,
        on_event: Callable[[Event], object] = lambda event: None,
    ) -> RunResult:
        """Run a command on each of some hosts, and wait for all.

        :param name: of the task, for messages.
        :param timeout: seconds for each host.
        :param is_secret: whether logs of ansible must not have the results;
            then these are not known here either.
        :param on_event: is called with each result, by this thread.
        """
        events = Events(list(commands), on_event)
        texts: dict[str, str] = {}
        document = {
            "name": name,
            "timeout": timeout,
            "hidden": is_secret,
            "hosts": {
                host: {
                    "command": command.command,
                    "input": [
                        texts.setdefault(text, str(len(texts)))
                        for text in command.input
                    ],
                    "environment": command.has_environment,
                }
                for host, command in commands.items()
            },
            "texts": {key: text for text, key in texts.items()},
        }
        turns = math.ceil(len(commands) / self._forks)
        for event in self._round(document, turns * timeout):
            if not event:
                return events.result(complete=True)
            events.take(event)
        # It took too long, or has ended by itself; its log says why.
        return events.result(complete=False)

    def groups(
        self, pattern: str | None = None, variables: Sequence[str] = ()
    ) -> inventories.HostGroups:
        """The hosts and groups of the inventory.

        :param pattern: a host pattern of ansible that selects some hosts.
        :param variables: the names of the host variables to read.
        :raises InvalidArgument: when ansible is not installed, or cannot read
            the inventory, or no host is selected.
        """
        for path in self._given:
            inventories.check(path)
        answer: Mapping[str, Any] = {}
        log = []
        document = {"pattern": pattern, "variables": variables}
        for event in self._round(document, 0):
            log.append(str(event.get("stdout", "")))
            if "groups" in event:
                answer = event
        if not answer:
            given = dict(zip(self._paths, self._given, strict=True))
            raise inventories.unreadable("".join(log), given)
        if not answer["selected"]:
            raise inventories.without_hosts(", ".join(self._given), pattern)
        return inventories.HostGroups(
            answer["selected"],
            {name: hosts for name, hosts in answer["groups"].items() if hosts},
            answer["variables"],
        )

    def _round(
        self, document: Mapping[str, Any], seconds: float
    ) -> Iterator[Mapping[str, Any]]:
        """The results of a round; the last one is empty, or it failed."""
        self._send(json.dumps(document) + "\n")
        end = time.monotonic() + seconds + _GRACE
        while time.monotonic() < end:
            try:
                event = self._events.get(timeout=_PERIOD)
            except queue.Empty:
                # Its workers may live on, and keep the pipes open.
                if self._process and self._process.poll() is None:
                    continue
                event = None
            if event is None:
                break
            self.processor += event.get("processor", 0.0)
            yield event
            if not event:
                return
        self.end()

    def end(self) -> None:
        """End the process, and all that it has started."""
        if self._process is None:
            return
        process, self._process = self._process, None
        processes.end_marked(self._mark, self._private)
        process.wait()
        with contextlib.suppress(OSError):
            process.stdin.close()  # type: ignore[union-attr]

    def _send(self, line: str) -> None:
        if self._process is None or self._process.poll() is not None:
            self.end()
            self._process = self._start()

        def write(stream: IO[str]) -> None:
            with contextlib.suppress(OSError, ValueError):
                stream.write(line)
                stream.flush()

        # A pipe takes less than a round at once.
        threading.Thread(
            target=write, args=(self._process.stdin,), daemon=True
        ).start()

    def _start(self) -> subprocess.Popen[str]:
        driver = importlib.resources.files(__package__) / "driver/driver.py"
        variables = configuration.variables(
            self._private,
            {
                "ANSIBLE_CALLBACKS_ENABLED": "imageprep_results",
                "ANSIBLE_DEPRECATION_WARNINGS": "False",
                # A directory may have files that are no inventories.
                "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": str(
                    not any(map(os.path.isdir, self._paths))
                ),
                "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
                # The input of commands.
                "ANSIBLE_PIPELINING": "True",
                processes.MARK: self._mark,
            },
        )
        process = subprocess.Popen(  # noqa: S603 - no shell
            # Without -B it would write beside the plugins.
            [
                *(sys.executable, "-B", str(driver)),
                *(str(self._forks), *map(os.path.abspath, self._paths)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **variables},
            encoding="utf-8",
            errors="replace",
            # Ctrl-C on the terminal is for this process alone.
            start_new_session=True,
        )
        self._events = queue.SimpleQueue()
        log = threading.Thread(
            target=self._read_log,
            args=(process.stderr, self._events),
            daemon=True,
        )
        log.start()
        threading.Thread(
            target=self._read,
            args=(process.stdout, self._events, log),
            daemon=True,
        ).start()
        return process

    @staticmethod
    def _read(
        stream: IO[str],
        events: queue.SimpleQueue[Mapping[str, Any] | None],
        log: threading.Thread,
    ) -> None:
        """Pass the results on, and None at the end, after the log."""
        with stream:
            for line in stream:
                # A process that is killed may leave a part of a line.
                with contextlib.suppress(ValueError):
                    events.put(json.loads(line) if line.strip() else {})
        log.join()
        events.put(None)

    @staticmethod
    def _read_log(
        stream: IO[str], events: queue.SimpleQueue[Mapping[str, Any] | None]
    ) -> None:
        with stream:
            while line := stream.readline(_LINE):
                events.put({"event": "verbose", "stdout": line})
