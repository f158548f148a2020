"""A deployment carried to a site in archives, twice::

    python -m tests.benchmarks.archive [--size 512] [--runs 3] [--work DIR]

86 images are carried and brought into a tree; then a second release, in which
every other image is new, with ``--since``. ``second`` is the size of the
second archive, divided by the bytes of the blobs that are new; the bar is
1.05. ``from`` is the time of a run from the second archive into the tree of
the first release, divided by that of a run from a registry on this host; the
bar for the ratio of the medians is 1.1. Exit status 1 when a bar is missed.
"""

from __future__ import annotations

import pathlib
import shutil
import statistics
import subprocess
import sys

from imageprep_client.testing import images
from tests.benchmarks import site

_SIZE_BAR, _TIME_BAR = 1.05, 1.1


def _second(first: images.ImageSet, size: int) -> images.ImageSet:
    """The next release: every other image of it is new."""
    fresh = site.release(size, seed="next").images
    return images.ImageSet(
        tuple(
            new if number % 2 else old
            for number, (old, new) in enumerate(
                zip(first.images, fresh, strict=True)
            )
        )
    )


def _measure(work: pathlib.Path, size: int, runs: int) -> bool:
    """Whether both bars are met."""
    bench = site.Bench(work / "home", print)
    archive, tree = work / "home" / "second.tar", work / "tree"
    trees = {"archive": work / "one", "registry": work / "two"}
    first = site.release(size)
    second = _second(first, size)
    with site.filled(work / "first", first) as source:
        bench.run(
            *("carry", first, source.host, str(tree)),
            *("--carry", "first.tar"),
        )
        bench.run(
            *("bring", first, source.host, str(tree)), *("--from", "first.tar")
        )
    seconds: dict[str, list[float]] = {kind: [] for kind in trees}
    with site.filled(work / "second", second) as source:
        bench.run(
            *("carry the second", second, source.host, str(tree)),
            *("--carry", "second.tar", "--since", "first.tar"),
        )
        for _ in range(runs):
            for kind, target in trees.items():
                shutil.rmtree(target, ignore_errors=True)
                subprocess.run(["cp", "-al", tree, target], check=True)
                (target / ".lock").unlink()
                words = ("--from", "second.tar") if kind == "archive" else ()
                taken = bench.run(
                    f"run from the {kind}",
                    second,
                    source.host,
                    str(target),
                    *words,
                )
                seconds[kind].append(taken.seconds)
    new = second.blobs.keys() - first.blobs.keys()
    fresh = sum(second.blobs[digest].descriptor.size for digest in new)
    ratio = archive.stat().st_size / fresh
    slower = statistics.median(seconds["archive"]) / statistics.median(
        seconds["registry"]
    )
    print(f"second  {ratio:.3f}  (bar {_SIZE_BAR})")
    print(f"from    {slower:.3f}  (bar {_TIME_BAR})")
    return ratio <= _SIZE_BAR and slower <= _TIME_BAR


if __name__ == "__main__":
    sys.exit(site.measure(__doc__, _measure))
