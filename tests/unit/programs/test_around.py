"""Commands around a block."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.programs.around import around

#: Ends when there is a file whose name ends in ``.go``.
_FIRST = (
    "sh",
    "-c",
    'echo begins; : > "$0.began"; until [ -e "$0.go" ]; do sleep 0.01; done;'
    ' echo ended >> "$0"',
)
_LAST = ("sh", "-c", 'echo last >> "$0"')


def test_order(tmp_path: Path) -> None:
    """The first one has ended before the block, the last one after it."""
    log = tmp_path / "log"
    (tmp_path / "log.go").touch()
    words = (*_FIRST, str(log)), (*_LAST, str(log))
    with around("x", *words, errors.StoreError) as first:
        assert (first.status, first.stderr) == (0, "begins")
        log.write_text(f"{log.read_text()}block\n")
    assert log.read_text().split() == ["ended", "block", "last"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signal(
    tmp_path: Path, number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    """A signal ends neither of them, nor does it change their order, and
    nothing is printed.
    """
    log = tmp_path / "log"
    child = os.fork()
    if not child:
        words = (*_FIRST, str(log)), (*_LAST, str(log))
        try:
            with around("x", *words, errors.StoreError):
                pass
        finally:
            os._exit(0)
    while not (tmp_path / "log.began").exists():
        time.sleep(0.01)
    os.kill(child, number)
    status = os.waitpid(child, 0)[1]
    (tmp_path / "log.go").touch()
    assert os.WTERMSIG(status) == number
    while not log.exists() or "last" not in log.read_text():
        time.sleep(0.01)
    assert log.read_text().split() == ["ended", "last"]
    assert capfd.readouterr() == ("", "")


def test_failures() -> None:
    """A failure of the last command is an error, unless the first one failed
    as well.
    """
    with around("x", ["false"], ["false"], errors.StoreError) as first:
        assert first.status == 1
    with (
        pytest.raises(errors.StoreError, match="x: false failed") as caught,
        around("x", ["true"], ["false", "now"], errors.StoreError),
    ):
        pass
    assert caught.value.hint == "run: false now"
