"""The share of the plugin in the start of every ``openstack`` command.

Runs ``openstack --version`` with and without the plugin, in pairs that
alternate which goes first, and prints the median of the pairs' ratios::

    python tests/benchmarks/startup.py [--pairs 30] [--limit 1.05]

Both runs use the same interpreter and the same installed files: two
directories of symbolic links to all of site-packages, one of which lacks the
package and its entry points. Exit status 1 when the ratio is over the limit.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time

_PACKAGE = pathlib.Path(__file__).parents[2] / "imageprep_client"
_START = (
    "import sys; from openstackclient import shell; sys.exit(shell.main())"
)


def _farm(home: pathlib.Path, plugin: bool) -> pathlib.Path:
    """Links to all that is installed, with or without the plugin.

    ``.pth`` files are left out: nothing reads them here, and an editable
    installation is represented by a link to the package itself.
    """
    farm = home / ("with" if plugin else "without")
    farm.mkdir()
    for entry in pathlib.Path(sysconfig.get_path("purelib")).iterdir():
        ours = entry.name.startswith("imageprep_client")
        if entry.suffix == ".pth" or (ours and not plugin):
            continue
        (farm / entry.name).symlink_to(entry)
    if plugin and not (farm / _PACKAGE.name).exists():
        (farm / _PACKAGE.name).symlink_to(_PACKAGE)
    return farm


def _environment(home: pathlib.Path, farm: pathlib.Path) -> dict[str, str]:
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(farm),
    }


def _seconds(environment: dict[str, str]) -> float:
    """How long one start takes; ``-S`` keeps other site-packages out."""
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-S", "-c", _START, "--version"],
        check=True,
        env=environment,
        cwd=environment["HOME"],
        stdout=subprocess.DEVNULL,
    )
    return time.perf_counter() - began


def _check(environment: dict[str, str], plugin: bool) -> None:
    """Refuse to measure two things that do not differ as they should."""
    output = subprocess.run(
        [sys.executable, "-S", "-c", _START, "--help"],
        check=True,
        env=environment,
        cwd=environment["HOME"],
        capture_output=True,
        text=True,
    ).stdout
    if ("--os-image-prepare-api-version" in output) is not plugin:
        sys.exit(f"the plugin is {'not' if plugin else 'still'} there")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--pairs", type=int, default=30)
    parser.add_argument("--limit", type=float, default=1.05)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        home = pathlib.Path(name)
        environments = {}
        for plugin in (True, False):
            environments[plugin] = _environment(home, _farm(home, plugin))
            _check(environments[plugin], plugin)
            _seconds(environments[plugin])
        pairs = []
        for number in range(options.pairs):
            taken = {}
            for plugin in (True, False) if number % 2 else (False, True):
                taken[plugin] = _seconds(environments[plugin])
            pairs.append(taken)
    ratio = statistics.median(pair[True] / pair[False] for pair in pairs)
    for plugin, word in ((False, "without"), (True, "with")):
        median = statistics.median(pair[plugin] for pair in pairs)
        print(f"{word:8}{median * 1000:7.0f} ms")
    print(f"{'ratio':8}{ratio:7.3f}    (limit {options.limit})")
    return int(ratio > options.limit)


if __name__ == "__main__":
    sys.exit(main())
