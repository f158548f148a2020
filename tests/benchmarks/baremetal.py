"""The cost of extracting, beside ``qemu-img convert`` and ``sha256sum``::

    python -m tests.benchmarks.baremetal [--data 400] [--runs 3]

As root, which making the disk needs. The disk has a root in XFS on LVM with
that many MiB that cannot be compressed. The baseline reads the same extents
with ``qemu-img convert`` and hashes the result with ``sha256sum``. They take
turns; both are processes of their own, and the extraction is the library's,
without the start of ``openstack``. The bars are 1.2 times the baseline's time
and 150 MB. Exit status 1 when the median of the rounds is over one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import disk_images
from tests.disk_images import SampleDisk

_BAR = 1.2
_MEMORY = 150_000_000
_EXTRACT = """
import sys
from imageprep_client.client import baremetal
baremetal.extract(
    baremetal.ExtractRequest(image=sys.argv[1], output_directory=sys.argv[2])
)
"""


def main() -> int:
    """Measure, print, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=int, default=400)
    parser.add_argument("--runs", type=int, default=3)
    given = parser.parse_args()
    ratios, memories = [], []
    with tempfile.TemporaryDirectory(dir="/var/tmp") as name:
        home = Path(name)
        disk = disk_images.make(
            home / "disk",
            root="xfs",
            lvm=True,
            data=given.data * disk_images.MIB,
        )
        image = disk.qcow2()
        for _ in range(given.runs):
            baseline, _ = _measure(_baseline(disk, image, home))
            output = home / "out"
            words = [sys.executable, "-c", _EXTRACT, str(image), str(output)]
            taken, memory = _measure([words])
            written = sum(
                file.stat().st_blocks * 512 for file in output.iterdir()
            )
            shutil.rmtree(output)
            ratios.append(taken / baseline)
            memories.append(memory)
            print(
                f"extract {taken:.2f} s, baseline {baseline:.2f} s, ratio"
                f" {taken / baseline:.2f}, {memory / 1e6:.0f} MB of memory,"
                f" {written / 1e6:.0f} MB written"
            )
    ratio, peak = statistics.median(ratios), max(memories)
    print(f"ratio {ratio:.2f} (bar {_BAR}), {peak / 1e6:.0f} MB (bar 150)")
    return 0 if ratio <= _BAR and peak <= _MEMORY else 1


def _baseline(disk: SampleDisk, image: Path, home: Path) -> list[list[str]]:
    sources = [
        "json:"
        + json.dumps(
            {
                "driver": "raw",
                "offset": offset,
                "size": size,
                "file": {
                    "driver": "qcow2",
                    "file": {"driver": "file", "filename": str(image)},
                },
            }
        )
        for offset, size in disk.extents
    ]
    target = str(home / "baseline.raw")
    return [
        ["qemu-img", "convert", "-O", "raw", *sources, target],
        ["sha256sum", target],
        ["rm", target],
    ]


def _measure(commands: list[list[str]]) -> tuple[float, int]:
    """Seconds, and the peak memory of a process in bytes."""
    os.sync()
    seconds, peak = 0.0, 0
    child = Path(__file__).with_name("child.py")
    with tempfile.NamedTemporaryFile() as result:
        for words in commands:
            subprocess.run(
                [sys.executable, "-I", "-S", child, result.name, *words],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            taken = json.loads(Path(result.name).read_text())
            seconds += taken["seconds"]
            peak = max(peak, taken["peak"])
    return seconds, peak


if __name__ == "__main__":
    sys.exit(main())
