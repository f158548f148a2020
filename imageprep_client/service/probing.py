"""Health checks of services."""

from __future__ import annotations

import dataclasses
import socket
import time
from collections.abc import Callable

from imageprep_client import errors
from imageprep_client.http import answering
from imageprep_client.programs.podman import InspectedContainer, Podman
from imageprep_client.programs.process import Program
from imageprep_client.service.declaration import Probe

#: Seconds that one attempt may take.
_ATTEMPT = 5.0
#: Seconds between attempts until the first one succeeds, at most.
_EAGER = 0.2


def wait(
    probe: Probe, deadline: float, run: Callable[[tuple[str, ...]], str]
) -> str:
    """Wait until a probe succeeds.

    :param deadline: of `time.monotonic`.
    :param run: runs a command; returns the reason of a failure, or empty.
    :returns: the reason why it did not succeed; empty if it did.
    """
    failures = 0
    begun = time.monotonic()
    while reason := attempt(probe, run):
        now = time.monotonic()
        if now - begun >= probe.start_period:
            failures += 1
        if probe.retries and failures >= probe.retries:
            return f"{reason}, {failures} times"
        if now >= deadline:
            return reason
        time.sleep(min(probe.interval, max(0.0, deadline - now)))
    return ""


def attempt(probe: Probe, run: Callable[[tuple[str, ...]], str]) -> str:
    """The reason why one attempt failed; empty if it succeeded."""
    try:
        if probe.tcp:
            reason = _connect(probe.tcp)
        elif probe.http:
            reason = _request(probe.http)
    except OSError as error:
        reason = errors.reason(error) or "no answer"
    if not (probe.tcp or probe.http):
        reason = run(probe.command)
    return f"{probe}: {reason}" if reason else ""


def on_host(words: tuple[str, ...]) -> str:
    """Run a command on the host; the reason of a failure, or empty."""
    program, *arguments = words
    try:
        finished = Program(program).attempt(*arguments, timeout=_ATTEMPT)
    except errors.StoreError as error:
        return str(error)
    return f"exit status {finished.status}" if finished.status else ""


@dataclasses.dataclass(frozen=True, slots=True)
class HealthWatch:
    """Watches a container that was just started until it is healthy.

    It is healthy when its process has run, without a restart, and its probe
    has succeeded for some seconds. Without a probe the health check counts
    that the container was created with, if there is one.

    :ivar minimum: these seconds.
    :ivar deadline: seconds after which it is given up.
    """

    podman: Podman
    name: str
    probe: Probe | None
    minimum: float
    deadline: float

    def wait(self) -> str:
        """The reason why it did not become healthy; empty if it did."""
        begun = time.monotonic()
        healthy_since: float | None = None
        failures = 0
        process: tuple[int, int] | None = None
        while True:
            container = self.podman.container(self.name)
            reason, final = self._look(container)
            if container and (container.pid, container.restarts) != process:
                # It was started again meanwhile.
                process = container.pid, container.restarts
                healthy_since = None
            now = time.monotonic()
            if reason:
                healthy_since = None
                counts = self.probe and now - begun >= (
                    self.probe.start_period
                )
                failures += bool(counts)
                limit = self.probe.retries if self.probe else 0
                if final or (limit and failures >= limit):
                    return reason
            else:
                failures = 0
                healthy_since = now if healthy_since is None else healthy_since
                if now - healthy_since >= self.minimum:
                    return ""
            if now - begun >= self.deadline:
                limit_text = f"{self.deadline:g} s"
                return f"not healthy within {limit_text}: " + (
                    reason or f"not for {self.minimum:g} s without a break"
                )
            self._pause(begun, now, healthy_since)

    def _pause(
        self, begun: float, now: float, healthy_since: float | None
    ) -> None:
        interval = self.probe.interval if self.probe else 1.0
        if healthy_since is None:
            pause = min(interval, _EAGER)
        else:
            pause = min(interval, healthy_since + self.minimum - now)
        left = begun + self.deadline - now
        time.sleep(max(0.01, min(pause, left)))

    def _look(self, container: InspectedContainer | None) -> tuple[str, bool]:
        """The reason why it is not healthy, and whether that is final."""
        if container is None:
            return "its container is gone", True
        if not container.is_alive:
            return self._ended(container)
        if self.probe:
            return attempt(self.probe, self._run), False
        if container.has_healthcheck:
            try:
                finished = self.podman.check_health(self.name, _ATTEMPT)
            except errors.LocalStorageError as error:
                return str(error), False
            if finished.status:
                return "its health check fails", False
        return "", False

    def _ended(self, container: InspectedContainer) -> tuple[str, bool]:
        status = container.data["State"].get("ExitCode")
        if container.state in ("initialized", "created"):
            return "its process was not started", False
        reason = f"its process ended with status {status}"
        policy = container.restart_policy
        stays = policy in ("", "no") or (policy == "on-failure" and not status)
        return reason, stays

    def _run(self, words: tuple[str, ...]) -> str:
        try:
            finished = self.podman.exec(self.name, words, _ATTEMPT)
        except errors.LocalStorageError as error:
            return str(error)
        return f"exit status {finished.status}" if finished.status else ""


def _connect(address: str) -> str:
    host, _, port = address.rpartition(":")
    to = host.strip("[]"), int(port)
    with socket.create_connection(to, timeout=_ATTEMPT):
        return ""


def _request(url: str) -> str:
    status = answering.status(url, _ATTEMPT)
    return f"status {status}" if status >= 400 else ""
