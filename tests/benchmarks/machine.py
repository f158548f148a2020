"""Exports and imports of a machine, compared with those of systemd.

::

    python -m tests.benchmarks.machine [--megabytes 600] [--files 50000]

Needs root, and systemd-container. The tree is made anew below ``--scratch``,
in the same file system as all results. Each figure is the median of three;
both write to the page cache first and synchronise at the end of an import.
"""

from __future__ import annotations

import argparse
import functools
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from imageprep_client.client import machine_images
from imageprep_client.client.machine_sources import Verification
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.observer import Observer

_HELPERS = Path("/lib/systemd")
_ROUNDS = 3


def make_tree(root: Path, size: int, files: int) -> None:
    """Files of the sizes and the compressibility of an installed system."""
    source = random.Random(1)  # noqa: S311 - no secret
    words = [source.randbytes(8).hex().encode() for _ in range(4096)]
    for number in range(files):
        folder = root / f"usr/lib/d{number % 1000}"
        folder.mkdir(parents=True, exist_ok=True)
        length = max(1, int(source.expovariate(files / size)))
        half = b" ".join(source.choices(words, k=length // 34 + 1))
        content = half + source.randbytes(length // 4)
        (folder / f"f{number}").write_bytes(content[:length])


def median(work: Callable[[], object]) -> float:
    """Seconds that a piece of work takes."""
    times = []
    for _ in range(_ROUNDS):
        started = time.monotonic()
        work()
        times.append(time.monotonic() - started)
    return statistics.median(times)


def _export(store: Path, to: Path) -> None:
    to.unlink(missing_ok=True)
    machine_images.prepare_export(
        "m", str(to), store=str(store), compression=None, as_is=True, live=True
    ).run(RegistryOptions(), Observer())


def _theirs(root: Path, to: Path, *words: str) -> None:
    to.unlink(missing_ok=True)
    _run("systemd-export", "tar", *words, root, to)


def _run(program: str, *words: str | Path) -> None:
    subprocess.run(
        [_HELPERS / program, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _import(archive: Path, pool: Path) -> None:
    shutil.rmtree(pool / "i", ignore_errors=True)
    machine_images.import_machine(
        "i",
        str(archive),
        Verification(none=True),
        RegistryOptions(),
        Observer(),
        store=str(pool),
        max_size=64 << 30,
        declared=frozenset(),
        read_only=False,
    )


def _their_import(archive: Path, pool: Path) -> None:
    _run(
        *("systemd-import", "tar", "--force", f"--image-root={pool}"),
        *(archive, "i"),
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--scratch", default="/var/tmp")  # noqa: S108
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        top = Path(name)
        store, pool, theirs = top / "store", top / "pool", top / "theirs"
        for folder in (store, pool, theirs):
            folder.mkdir()
        root = store / "m"
        make_tree(root, arguments.megabytes << 20, arguments.files)
        rows = []
        for ending, words in ((".tar.gz", ("--format=gzip",)), (".tar", ())):
            ours, other = top / f"a{ending}", top / f"b{ending}"
            mine = median(functools.partial(_export, store, ours))
            theirs_took = median(
                functools.partial(_theirs, root, other, *words)
            )
            ratio = ours.stat().st_size / other.stat().st_size
            rows.append((f"export {ending}", mine, theirs_took, ratio))
        packed = top / "a.tar.gz"
        rows.append(
            (
                "import .tar.gz",
                median(lambda: _import(packed, pool)),
                median(lambda: _their_import(packed, theirs)),
                1.0,
            )
        )
        print(f"{'':16} {'ours':>8} {'systemd':>8} {'ratio':>6} {'size':>6}")
        for what, mine, took, size in rows:
            print(
                f"{what:16} {mine:7.2f}s {took:7.2f}s {mine / took:6.2f}"
                f" {size:6.2f}"
            )


if __name__ == "__main__":
    main()
