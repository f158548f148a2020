"""Waiting for what a killed command has started."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from imageprep_client.host import processes


def test_daemons_stay(tmp_path: Path) -> None:
    """The program is waited for, a daemon that it has started is not."""
    sleep = shutil.which("sleep")
    assert sleep
    program = tmp_path / "worker"
    shutil.copy(sleep, program)
    environment = {processes.MARK: str(tmp_path)}
    told: list[str] = []
    with (
        subprocess.Popen([sleep, "1000"], env=environment) as daemon,
        subprocess.Popen([program, "1000"], env=environment) as worker,
    ):

        def waiting(text: str) -> None:
            told.append(text)
            worker.kill()
            worker.wait()

        processes.wait_for_marked(str(tmp_path), "worker", waiting)
        assert told == [f"processes {worker.pid} of an interrupted command"]
        assert daemon.poll() is None
        daemon.kill()
