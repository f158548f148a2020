"""How fast ``registry serve`` is beside Apache, over one tree::

    python -m tests.benchmarks.serving [--runs 5] [--seconds 3]

Apache has the virtual host that ``registry config`` prints. ``ab``, of Apache,
asks each server in turn over eight connections that stay open: for a manifest
by digest, a manifest by tag, and blobs of three sizes. Each line has the
median of the requests per second of both, and their ratio. Exit status 1 when
a ratio is below its bar: 0.5 for manifests, 0.8 for blobs.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from imageprep_client.serving import apache as printed
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import content, store_suite
from imageprep_client.testing.streams import put
from tests import apache, programs

_CONNECTIONS = 8
_MANIFESTS, _BLOBS = 0.5, 0.8
#: Bytes of the blobs.
_SIZES = (16 * 1024, 1024 * 1024, 64 * 1024 * 1024)
_PROGRAM = (
    "import sys; from imageprep_client.serving import server;"
    "server.serve(sys.argv[1], '127.0.0.1:0',"
    " lambda line: print(line, flush=True))"
)


def _fill(path: Path) -> dict[str, float]:
    """Make a tree; gives the paths that are asked for, and their bars."""
    store = ImageServeTree(path).store("ns/app")
    image = content.image("image")
    put(store, image, "latest")
    home = "/v2/ns/app"
    paths = {
        f"{home}/manifests/{image.descriptor.digest}": _MANIFESTS,
        f"{home}/manifests/latest": _MANIFESTS,
    }
    for size in _SIZES:
        blob = content.blob(str(size), size)
        store_suite.push(store, blob)
        paths[f"{home}/blobs/{blob.descriptor.digest}"] = _BLOBS
    return paths


@contextlib.contextmanager
def _serve(tree: Path) -> Iterator[str]:
    """``registry serve`` as a process; gives its URL."""
    with subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(tree)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1]
        finally:
            process.terminate()


def _rate(url: str, seconds: float) -> float:
    """Requests per second, none of them failed."""
    told = programs.run(
        *("ab", "-q", "-k", "-c", str(_CONNECTIONS)),
        # Without -n, ab ends after 50000 requests.
        *("-t", str(max(1, round(seconds))), "-n", "10000000", url),
    )
    values = dict(re.findall(r"(?m)^([\w -]+): +([\d.]+)", told))
    assert values["Failed requests"] == "0", told
    assert "Non-2xx responses" not in values, told
    return float(values["Requests per second"])


def main() -> int:
    """Measure; 1 when a ratio is below its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    low = False
    with apache.readable_directory() as directory:
        tree = directory / "image-serve"
        paths = _fill(tree)
        with (
            apache.running(printed.virtual_host, tree, hostile=False) as other,
            _serve(tree) as own,
        ):
            for path, bar in paths.items():
                rates: dict[str, list[float]] = {own: [], other: []}
                for _ in range(options.runs):
                    for url, values in rates.items():
                        values.append(_rate(url + path, options.seconds))
                mine, apaches = map(statistics.median, rates.values())
                ratio = mine / apaches
                low = low or ratio < bar
                print(
                    f"{path[11:31]:20} {mine:10.1f} {apaches:10.1f}"
                    f" {ratio:6.2f}  (bar {bar})"
                )
    return int(low)


if __name__ == "__main__":
    sys.exit(main())
