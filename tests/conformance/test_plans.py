"""Every kind of plan keeps what `plans.base` promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from imageprep_client.plans import directory, memory
from imageprep_client.plans.files import PlanFiles
from imageprep_client.testing import plan_suite


class _InMemory:
    _files: memory.MemoryFiles

    def keep(self, files: Mapping[str, str]) -> PlanFiles:
        self._files = memory.MemoryFiles(
            {path: text.encode() for path, text in files.items()}
        )
        return self._files

    def read(self, path: str) -> str | None:
        content = self._files.files.get(path)
        return None if content is None else content.decode()


class _InDirectory:
    def __init__(self, home: Path) -> None:
        self._home = home

    def keep(self, files: Mapping[str, str]) -> PlanFiles:
        for path, text in files.items():
            file = self._home / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        return directory.DirectoryFiles(self._home)

    def read(self, path: str) -> str | None:
        file = self._home / path
        return file.read_text(encoding="utf-8") if file.exists() else None


class TestMemory(plan_suite.PlanSuite):
    @pytest.fixture
    def host(self) -> plan_suite.PlanHost:
        return _InMemory()


class TestDirectory(plan_suite.PlanSuite):
    @pytest.fixture
    def host(self, tmp_path: Path) -> plan_suite.PlanHost:
        return _InDirectory(tmp_path)
