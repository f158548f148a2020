"""Directories that several threads have open."""

from __future__ import annotations

import concurrent.futures
import threading
from pathlib import Path

import pytest

from imageprep_client.host.directory import Directory
from imageprep_client.host.opened import OpenDirectory


def test_no_descriptor_is_closed_while_it_is_used(tmp_path: Path) -> None:
    """Directories are forgotten while other threads open files in them."""
    (tmp_path / "a").mkdir()
    directory = Directory(tmp_path)

    def use() -> None:
        for _ in range(3000):
            with directory.open_directory("a"):
                pass
            directory.check_access("a")

    def forget() -> None:
        for _ in range(20000):
            directory.forget()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(job) for job in (use, use, forget, forget)]
        for job in jobs:
            job.result()


def test_system_calls_are_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two threads look at a known directory at the same time."""
    directory = Directory(tmp_path)
    directory.check_access("")
    both = threading.Barrier(2)

    def is_current(_: OpenDirectory) -> bool:
        both.wait(timeout=60)
        return True

    monkeypatch.setattr(OpenDirectory, "is_current", is_current)
    with concurrent.futures.ThreadPoolExecutor(2) as threads:
        list(threads.map(directory.check_access, ["", ""]))
