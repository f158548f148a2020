"""Exports and imports of a machine, compared with those of systemd.

::

    python -m tests.benchmarks.machine [--megabytes 600] [--files 50000]

Needs root, systemd-container, lxc and btrfs-progs. The tree is made anew below
``--scratch``, in the same file system as all results. Ours and theirs take
turns, after everything is on the disk; each figure is the median of the
rounds. Both synchronise at the end of an import.

The outage of a replacement that is not the machine's own time, and the time
and space of 32 clones on btrfs, are printed after the table.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from imageprep_client.client.machine import changes, images
from imageprep_client.client.machine.sources import MachineSource, Verification
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.machine import roots
from imageprep_client.machine.replacement.replacing import (
    ReplaceRequest,
    RootChanges,
)
from imageprep_client.observer import Observer
from tests.lxc_containers import BtrfsPool, Containers, write_root
from tests.programs import run

_HELPERS = Path("/lib/systemd")
_CLONES = 32


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


def in_turns(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    rounds: int,
    tidy: Callable[[], object] = lambda: None,
) -> tuple[float, float]:
    """Seconds that two pieces of work take.

    :param tidy: what is done before each, and not measured.
    """
    times: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * rounds):
        is_ours = number % 2 == 0
        tidy()
        os.sync()
        started = time.monotonic()
        (ours if is_ours else theirs)()
        times[is_ours].append(time.monotonic() - started)
    return statistics.median(times[True]), statistics.median(times[False])


def _export(store: Path, to: Path) -> None:
    images.prepare_export(
        "m", str(to), store=str(store), compression=None, as_is=True, live=True
    ).run(RegistryOptions(), Observer())


def _theirs(root: Path, to: Path, *words: str) -> None:
    _run("systemd-export", "tar", *words, root, to)


def _run(program: str, *words: str | Path) -> None:
    subprocess.run(
        [_HELPERS / program, *words],
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _import(archive: Path, pool: Path) -> None:
    images.import_machine(
        "i",
        MachineSource(str(archive), Verification(none=True)),
        Observer(),
        store=str(pool),
        read_only=False,
    )


def _their_import(archive: Path, pool: Path) -> None:
    _run(*("systemd-import", "tar", f"--image-root={pool}"), *(archive, "i"))


def compare(top: Path, size: int, files: int, rounds: int) -> None:
    """Print a table of exports and imports."""
    store, pool, theirs = top / "store", top / "pool", top / "theirs"
    for folder in (store, pool, theirs):
        folder.mkdir()
    root = store / "m"
    make_tree(root, size, files)
    rows = []
    for ending, words in ((".tar.gz", ("--format=gzip",)), (".tar", ())):
        mine, other = top / f"a{ending}", top / f"b{ending}"

        sizes: dict[Path, int] = {}

        def forget(*paths: Path, sizes: dict[Path, int] = sizes) -> None:
            for path in paths:
                if path.exists():
                    sizes[path] = path.stat().st_size
                    path.unlink()

        took = in_turns(
            functools.partial(_export, store, mine),
            functools.partial(_theirs, root, other, *words),
            rounds,
            functools.partial(forget, mine, other),
        )
        forget(other)
        rows.append((f"export {ending}", *took, sizes[mine] / sizes[other]))
    packed = top / "c.tar.gz"
    _export(store, packed)

    def empty() -> None:
        for folder in (pool, theirs):
            shutil.rmtree(folder / "i", ignore_errors=True)

    took = in_turns(
        functools.partial(_import, packed, pool),
        functools.partial(_their_import, packed, theirs),
        rounds,
        empty,
    )
    rows.append(("import .tar.gz", *took, 1.0))
    print(f"{'':16} {'ours':>8} {'systemd':>8} {'ratio':>6} {'size':>6}")
    for what, ours, other_took, ratio in rows:
        print(
            f"{what:16} {ours:7.2f}s {other_took:7.2f}s"
            f" {ours / other_took:6.2f} {ratio:6.2f}"
        )


def outage(top: Path, rounds: int) -> None:
    """Print the time that replacements of a running container add."""
    containers = Containers(top / "lxc")
    containers.path.mkdir()
    containers.add("www")
    containers.start("www")
    times = []
    try:
        for _ in range(rounds):
            replaced = RootChanges(
                roots.find("www", str(containers.path)),
                Observer(),
                journals=top / "journals",
            ).replace(lambda path: write_root(path, "2"), ReplaceRequest())
            times.append(replaced.swap.added or 0.0)
    finally:
        containers.stop_all()
    print(
        f"outage beyond stop and start: {1000 * statistics.median(times):.1f}"
        f" ms, at most {1000 * max(times):.1f} ms"
    )


def clones(top: Path, size: int) -> None:
    """Print the time and the space of clones of a base on btrfs."""
    with contextlib.closing(BtrfsPool(top, 4 * size + (1 << 30))) as pool:
        base = pool.path / "base"
        run("btrfs", "-q", "subvolume", "create", str(base))
        make_tree(base, size, size // 12_000)
        before = pool.used()
        names = [f"m{number}" for number in range(_CLONES)]
        started = time.monotonic()
        made = list(changes.clone(roots.find("base", str(pool.path)), names))
        each = (time.monotonic() - started) / len(made)
        ids = {(one.path / "etc/machine-id").read_text() for one in made}
        print(
            f"{len(made)} clones: {1000 * each:.0f} ms each,"
            f" {pool.used() / before:.3f} times the space of the base,"
            f" {len(ids)} machine IDs"
        )


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=600)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scratch", default="/var/tmp")  # noqa: S108
    arguments = parser.parse_args()
    size = arguments.megabytes << 20
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        compare(Path(name), size, arguments.files, arguments.rounds)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as name:
        outage(Path(name), arguments.rounds)
        clones(Path(name), size)


if __name__ == "__main__":
    main()
