"""Claims of processes that the kernel hides."""

from __future__ import annotations

import subprocess
import sys

import pytest

_CLAIM = """
from imageprep_client.host.processes import Claim
print(Claim.own(), flush=True)
input()
"""
_JUDGE = """
import os, sys
from imageprep_client.host.processes import Claim
os.setgroups([])
os.setgid(65534)
os.setuid(65534)
print(Claim.parse(sys.argv[1]).is_alive)
"""


@pytest.mark.parametrize("level", ["noaccess", "invisible"])
@pytest.mark.parametrize("ended", [False, True], ids=["runs", "ended"])
def test_hidepid(level: str, ended: bool) -> None:
    """A process of another user counts as running until it has ended."""
    with subprocess.Popen(
        [sys.executable, "-c", _CLAIM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        claim = process.stdout.readline().strip()
        if ended:
            process.communicate("\n")
        mount = f'mount -t proc -o hidepid={level} proc /proc; exec "$@"'
        judged = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-ec", mount, "sh"),
                *(sys.executable, "-c", _JUDGE, claim),
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        assert judged.stdout.strip() == str(not ended)
        process.kill()
