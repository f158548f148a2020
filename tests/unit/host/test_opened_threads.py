"""Directories that several threads have open."""

from __future__ import annotations

import concurrent.futures
import os
from pathlib import Path

from imageprep_client.host.directory import Directory


def test_no_descriptor_is_closed_while_it_is_used(tmp_path: Path) -> None:
    """Directories are forgotten while other threads open files in them."""
    (tmp_path / "a").mkdir()
    directory = Directory(tmp_path)

    def use() -> None:
        for _ in range(3000):
            os.close(directory.open_directory("a"))
            directory.check_access("a")

    def forget() -> None:
        for _ in range(20000):
            directory.forget()

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        jobs = [threads.submit(job) for job in (use, use, forget, forget)]
        for job in jobs:
            job.result()
