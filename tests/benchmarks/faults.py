"""Runs between registries that fail in every way, and how they end.

See doc/source/contributor/benchmarks.rst::

    python -m tests.benchmarks.faults [--rate PERCENT]... [--seeds N]
        [--images N] [--stall SECONDS] [--log DIRECTORY] [-- OPTION...]

Exit status 0 when the bars are met, else 1.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from tests import mixed_faults

#: By percent of each fault: seconds, and the part of the seeds that has to be
#: right by then.
_BARS = {2.0: (60.0, 1.0), 5.0: (300.0, 0.9)}
_LONGEST = 600.0
_KEPT = ("PATH", "PYTHONPATH", "LANG", "LC_ALL")
#: A cause that a failed run may name: what the registries did.
_CAUSES = re.compile(
    r"timed out|\b(429|50[0234]|400)\b|closed|expected \d+|digest is|reset"
    r"|ends after|gave no usable token|--image-timeout"
)


def _run(
    rate: float, seed: int, options: argparse.Namespace
) -> tuple[bool, float, str]:
    """One run; whether it is right, its seconds, and a remark."""
    program = pathlib.Path(sys.executable).with_name("openstack")
    with (
        mixed_faults.site(
            rate=rate / 100,
            stall=options.stall,
            seed=seed,
            images=options.images,
        ) as site,
        tempfile.TemporaryDirectory(prefix="faults-") as home,
    ):
        pathlib.Path(home, "env.yaml").write_text(site.environment)
        pathlib.Path(home, "table.j2").write_text(site.table)
        words = ["-e", "env.yaml", "--template-file", "table.j2"]
        kept = {key: os.environ[key] for key in _KEPT if key in os.environ}
        begin = time.monotonic()
        try:
            done = subprocess.run(
                [program, "image-prepare", "run", *words, *options.words],
                cwd=home,
                env={**kept, "HOME": home},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_LONGEST,
                check=False,
            )
            status, said = done.returncode, done.stderr
        except subprocess.TimeoutExpired as error:
            status, said = -1, (error.stderr or b"").decode()
        seconds = time.monotonic() - begin
        lacking = site.lacking()
    if options.log:
        pathlib.Path(options.log, f"{rate:g}-{seed}.log").write_text(said)
    if status == 0:
        return not lacking, seconds, f"{len(lacking)} not whole"
    told = [line for line in said.splitlines() if "attempt" not in line]
    reasons = [line for line in told if _CAUSES.search(line)]
    remark = (reasons or ["no true reason: ", *told])[-1]
    return False, seconds, f"status {status}: {remark[:150]}"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument(
        "--rate",
        type=float,
        action="append",
        help="percent of each fault (repeatable; default: 2 and 5)",
    )
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=20)
    parser.add_argument(
        "--stall",
        type=float,
        default=60.0,
        help="seconds for which a server says nothing (default: 60)",
    )
    parser.add_argument("--log", help="directory for what the runs say")
    parser.add_argument("words", nargs="*", help="further options of run")
    return parser.parse_args()


def main() -> int:
    options = _options()
    met = True
    for rate in options.rate or _BARS:
        bar, part = _BARS.get(rate, (_LONGEST, 0.0))
        good = 0
        for seed in range(
            options.first_seed, options.first_seed + options.seeds
        ):
            right, seconds, remark = _run(rate, seed, options)
            in_time = right and seconds <= bar
            good += in_time
            verdict = "right" if right else remark
            print(f"{rate:g} % seed {seed}: {seconds:6.1f} s  {verdict}")
            sys.stdout.flush()
        print(f"{rate:g} %: {good} of {options.seeds} within {bar:g} s")
        met &= good >= part * options.seeds
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
