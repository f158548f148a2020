"""File systems that a test mounts, and that nothing keeps busy."""

from __future__ import annotations

import contextlib
import gc
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest


@contextlib.contextmanager
def small_disk(
    path: Path, options: str, caplog: pytest.LogCaptureFixture
) -> Iterator[None]:
    """A file system in memory, in which the block leaves no file open.

    :param options: of mount.
    :param caplog: the log of the block; its records keep errors, and these
        the directories that were in use.
    """
    path.mkdir()
    words = ("mount", "-t", "tmpfs", "-o", f"mode=0755,{options}", "tmpfs")
    subprocess.run([*words, path], check=True)
    try:
        yield
        caplog.clear()
        gc.collect()
        subprocess.run(["umount", path], check=True)
    except BaseException:
        subprocess.run(["umount", "-l", path], check=True)
        raise
