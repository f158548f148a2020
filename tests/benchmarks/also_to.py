"""Filling three registries in one run, against three runs.

Prints a table of ratios with their bars; see
doc/source/contributor/benchmarks.rst::

    python -m tests.benchmarks.also_to [--scale 0.1] [--targets /dev/shm]

Exit status 1 when a bar is not met.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import pathlib
import sys
import tempfile
from collections.abc import Iterator

from tests import servers
from tests.benchmarks import proxy, site
from tests.benchmarks.site import Bench, Source

_UNIQUE = 200_000_000
_SMALL_UNIQUE = 4_000_000
_ROUND_TRIP = 0.040
#: What is wanted of the time of three runs, and of the bytes of one.
_BARS = {"distant": 0.60, "loopback": 0.75}


def main() -> int:
    """Measure both, and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--targets", help="where the registries are")
    options = parser.parse_args()
    scale = options.scale
    unmet = False
    with (
        tempfile.TemporaryDirectory() as name,
        tempfile.TemporaryDirectory(dir=options.targets) as filled,
    ):
        work, targets = pathlib.Path(name), pathlib.Path(filled)
        bench = Bench(work / "home", print)
        for place, unique in (
            ("distant", _SMALL_UNIQUE),
            ("loopback", int(_UNIQUE * scale)),
        ):
            found = site.release(unique, place)
            with (
                site.filled(work / place, found) as source,
                contextlib.ExitStack() as stack,
            ):
                host = source.host
                if place == "distant":
                    far = proxy.running(source.host, round_trip=_ROUND_TRIP)
                    host = stack.enter_context(far).host
                for row, value, bar in _rows(
                    bench, targets, source, host, place
                ):
                    met = value <= bar
                    unmet = unmet or not met
                    print(
                        f"{row:<44}{value:8.2f}{bar:8.2f}"
                        f"  {'yes' if met else 'NO'}"
                    )
    return int(unmet)


def _rows(
    bench: Bench, work: pathlib.Path, source: Source, host: str, place: str
) -> Iterator[tuple[str, float, float]]:
    with _targets(work / f"{place}-three") as targets:
        runs = [
            bench.run(f"{place}, run {n}", source.images, host, target)
            for n, target in enumerate(targets, 1)
        ]
    before = len(source.blob_requests())
    with _targets(work / f"{place}-one") as targets:
        also = [word for t in targets[1:] for word in ("--also-to", t)]
        one = bench.run(
            f"{place}, one run", source.images, host, targets[0], *also
        )
    asked = collections.Counter(source.blob_requests()[before:])
    sizes = {
        blob.descriptor.digest: blob.descriptor.size
        for image in source.images.images
        for blob in image.blobs
    }
    sent = sum(sizes[digest] * n for digest, n in asked.items())
    yield (
        f"{place}: one run of three registries : three",
        one.seconds / sum(run.seconds for run in runs),
        _BARS[place],
    )
    yield (
        f"{place}: bytes of the source : unique bytes",
        sent / sum(sizes.values()),
        1.0,
    )


@contextlib.contextmanager
def _targets(directory: pathlib.Path) -> Iterator[list[str]]:
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                servers.docker_registry(directory / str(number))
            ).host
            for number in range(3)
        ]


if __name__ == "__main__":
    sys.exit(main())
