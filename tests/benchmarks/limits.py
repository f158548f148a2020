"""The adaptive limit of requests, in turns with fixed ones.

See doc/source/contributor/adr/0007-registries-set-the-pace.rst::

    python -m tests.benchmarks.limits [--runs N] [--fixed NUMBER]...

Copies the small images of the distant rows of ``tools/bench`` to an empty
registry, from one nearby and from one that is 40 ms away. A fixed limit is
halved by 429, as the adaptive one is.
"""

from __future__ import annotations

import argparse
import pathlib
import shutil
import statistics
import tempfile
import threading
import time
from unittest import mock

from imageprep_client.http.window import Window
from imageprep_client.observer import Observer
from imageprep_client.stores.registry import client as clients
from imageprep_client.stores.registry.client import RegistryClient
from imageprep_client.transfer import engine
from imageprep_client.transfer.copies import Copy
from tests import servers
from tests.benchmarks import proxy, site

_UNIQUE = 4_000_000
_ROUND_TRIP = 0.040


class FixedLimit(Window):
    """Lets so many requests through, and half after each 429."""

    limit = 0

    def __init__(
        self, most: int, stop: threading.Event, **options: float
    ) -> None:
        super().__init__(min(most, self.limit), stop, first=1.0)

    def _learn(self, kind: str, seconds: float, busy: int) -> None:
        """Learn nothing."""


def _copy(
    source: site.Source, host: str, directory: pathlib.Path
) -> tuple[float, float]:
    """Seconds, and those of the processor, of one copy of all images."""
    with servers.docker_registry(directory) as target:
        begin, used = time.monotonic(), time.process_time()
        with RegistryClient(concurrency=engine.CONCURRENCY) as client:
            results = engine.copy_all(
                [
                    Copy(
                        name=image.repository,
                        source=client.store(host, image.repository),
                        reference=site.TAG,
                        destination=client.destination(
                            target.host, image.repository
                        ),
                        tag=site.TAG,
                    )
                    for image in source.images.images
                ],
                observer=Observer(),
            )
        taken = time.monotonic() - begin, time.process_time() - used
    shutil.rmtree(directory)
    for result in results:
        if result.error is not None:
            raise result.error
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--fixed", type=int, action="append")
    options = parser.parse_args()
    kinds: dict[str, type[Window]] = {"adaptive": Window}
    for limit in options.fixed or (32, 96):
        kinds[f"fixed {limit}"] = type(
            "Fixed", (FixedLimit,), {"limit": limit}
        )
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        place = pathlib.Path(directory)
        images = site.release(_UNIQUE, "small")
        with (
            site.filled(place / "source", images) as source,
            proxy.running(source.host, round_trip=_ROUND_TRIP) as far,
        ):

            def measure(row: str, host: str) -> None:
                taken: dict[str, list[tuple[float, float]]] = {}
                for _ in range(options.runs):
                    for kind, window in kinds.items():
                        with mock.patch.object(clients, "Window", window):
                            one = _copy(source, host, place / "target")
                        taken.setdefault(kind, []).append(one)
                for kind, times in taken.items():
                    seconds, processor = map(
                        statistics.median, zip(*times, strict=True)
                    )
                    print(
                        f"{row:8} {kind:10} {seconds:6.2f} s"
                        f"  processor {processor:5.2f} s",
                        flush=True,
                    )

            measure("near", source.host)
            measure("distant", far.host)


if __name__ == "__main__":
    main()
