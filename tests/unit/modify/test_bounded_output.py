"""The script that bounds the output of programs that the role runs."""

from __future__ import annotations

import subprocess

import pytest

from imageprep_client.modify import ansible_roles

SCRIPT = ansible_roles.SHIPPED / ansible_roles.ROLE / "files/bounded.sh"
MOST = 4 << 20
_CALL = 'bounded sh -c "$1"'


def bounded(command: str) -> subprocess.CompletedProcess[bytes]:
    """Run a command of the shell within bounds, as the role does."""
    return subprocess.run(
        ["sh", "-euc", f"{SCRIPT.read_text()}\n{_CALL}", "sh", command],
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("status", [0, 7])
def test_output_and_status(status: int) -> None:
    """Output, messages and exit status of a command are passed on."""
    done = bounded(f"echo out; echo message >&2; exit {status}")
    assert done.returncode == status
    assert done.stdout == b"out\n"
    assert done.stderr == b"message\n"


@pytest.mark.parametrize("stream", [1, 2])
@pytest.mark.parametrize("begin", ["", "trap '' PIPE; "])
def test_endless_output(stream: int, begin: str) -> None:
    """A command that prints without end fails, with one line at the end."""
    done = bounded(f"{begin}yes >&{stream}; exit 0")
    assert done.returncode == 1
    assert len(done.stdout) <= MOST
    assert len(done.stderr) <= MOST + 100
    assert done.stderr.endswith(b"prints more than 4194304 bytes\n")


def test_exactly_the_bound() -> None:
    """As many bytes as allowed are no failure."""
    done = bounded(f"head -c {MOST} /dev/zero")
    assert (done.returncode, len(done.stdout)) == (0, MOST)
