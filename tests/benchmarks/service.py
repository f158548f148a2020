"""Outages of three services while they are upgraded, and while one fails.

As root, with podman and busybox. Prints a table with bars; see
doc/source/contributor/benchmarks.rst::

    python -m tests.benchmarks.service [--rounds 3] [--shutdown 0.5]

Exit status 1 when a bar is not met.
"""

from __future__ import annotations

import argparse
import http.client
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from imageprep_client import errors
from imageprep_client.client.service import SwapPolicy
from tests import servers
from tests.podman_host import PodmanHost, answer, podman_host, service

_NAMES = ("one", "two", "three")
_INTERVAL = 0.02
_DEADLINE = 5.0
#: Seconds beside the shutdown of the service, and beside the deadline.
_SWAP_BAR = 1.0
_BACK_BAR = 2.0


class _Probes:
    """Asks a service every 20 ms while it is open.

    :ivar answers: when which version answered; an empty one for none.
    """

    def __init__(self, port: int) -> None:
        self.answers: list[tuple[float, str]] = []
        self._port = port
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ends.set()
        self._thread.join()

    def _ask(self) -> None:
        while not self._ends.wait(_INTERVAL):
            connection = http.client.HTTPConnection(
                "127.0.0.1", self._port, timeout=1
            )
            try:
                connection.request("GET", "/")
                version = connection.getresponse().read().decode().strip()
            except (OSError, http.client.HTTPException):
                version = ""
            finally:
                connection.close()
            self.answers.append((time.monotonic(), version))

    def last(self, version: str, before: float) -> float:
        """When a version answered for the last time before a moment."""
        return max(t for t, v in self.answers if v == version and t < before)

    def first(self, version: str, after: float = 0.0) -> float:
        """When a version answered for the first time after a moment."""
        return min(t for t, v in self.answers if v == version and t > after)

    def others(self, version: str) -> list[float]:
        """When it was not this version that answered."""
        return [t for t, v in self.answers if v != version]


class _Site:
    """Three services of a host, each depending on the one before."""

    def __init__(self, host: PodmanHost, shutdown: float) -> None:
        slow = f"trap 'kill $!; sleep {shutdown}; exit 0' TERM"
        self._host = host
        self._ports = {name: servers.free_port() for name in _NAMES}
        self._old, self._new = (
            host.image("service", version, begin=slow) for version in "12"
        )
        self._broken = host.idle("service", "broken")

    def upgraded(self) -> list[float]:
        """Seconds without an answer, for each service, in an upgrade."""
        probes = self._upgrade([self._new] * 3)
        outages = []
        for one in probes:
            begin = one.first("2")
            outages.append(begin - one.last("1", begin))
        return outages

    def reverted(self) -> float:
        """Seconds from the stop of a service until all old ones answer.

        What takes its place never gets healthy.
        """
        probes = self._upgrade([self._new, self._broken, self._new])
        second = probes[1]
        stopped = second.last("1", second.others("1")[0])
        back = [
            one.first("1", after=one.others("1")[-1])
            for one in probes
            if one.others("1")
        ]
        return max(back) - stopped

    def _upgrade(self, images: Sequence[str]) -> list[_Probes]:
        policy = SwapPolicy(min_healthy=0.5, healthy_deadline=_DEADLINE)
        self._host.clear()
        node = self._host.node()
        node.start(
            self._host.inputs(self._declared([self._old] * 3)), [], policy
        )
        wanted = self._host.inputs(self._declared(images))
        for port in self._ports.values():
            answer(port)
        one, two, three = map(_Probes, self._ports.values())
        with one, two, three:
            time.sleep(10 * _INTERVAL)
            try:
                node.upgrade(wanted, [], policy)
            except errors.PartialFailure as error:
                if self._broken not in images:
                    raise
                print(f"  {error}", flush=True)
            for port in self._ports.values():
                answer(port)
            time.sleep(10 * _INTERVAL)
        return [one, two, three]

    def _declared(self, images: Sequence[str]) -> dict[str, dict[str, object]]:
        declared: dict[str, dict[str, object]] = {}
        for name, image in zip(_NAMES, images, strict=True):
            declared[name] = service(
                image, self._ports[name], depends_on=list(declared)
            )
        return declared


def _measure(host: PodmanHost, rounds: int, shutdown: float) -> bool:
    """Print the worst of all rounds; whether the bars are met."""
    site = _Site(host, shutdown)
    upgrades = [site.upgraded() for _ in range(rounds)]
    rows = [
        (f"outage of {name}", max(column), shutdown + _SWAP_BAR)
        for name, column in zip(
            _NAMES, zip(*upgrades, strict=True), strict=True
        )
    ]
    # The old second service and the new first one are stopped meanwhile.
    back_bar = _DEADLINE + _BACK_BAR + 2 * shutdown
    back = max(site.reverted() for _ in range(rounds))
    rows.append(("all are back", back, back_bar))
    for name, seconds, bar in rows:
        met = "yes" if seconds <= bar else "NO"
        print(f"{name:<20}{seconds:8.3f}{bar:8.3f}  {met}")
    return all(seconds <= bar for _, seconds, bar in rows)


def main() -> int:
    """Measure; whether a bar is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--shutdown",
        type=float,
        default=0.5,
        help="seconds that each service takes to end",
    )
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        podman_host(Path(name)) as host,
    ):
        met = _measure(host, options.rounds, options.shutdown)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
