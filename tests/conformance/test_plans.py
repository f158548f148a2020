"""Every kind of plan keeps what `plans.base` promises."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from imageprep_client.plans import directory
from imageprep_client.plans.files import PlanFiles
from imageprep_client.testing.plans import memory
from imageprep_client.testing.plans import suite as plan_suite


class _InMemory:
    _files: memory.MemoryFiles

    def keep(self, files: Mapping[str, str]) -> None:
        self._files = memory.MemoryFiles(
            {path: text.encode() for path, text in files.items()}
        )

    def open(self) -> PlanFiles:
        return self._files

    def read(self, path: str) -> str | None:
        content = self._files.files.get(path)
        return None if content is None else content.decode()


class _InDirectory:
    def __init__(self, home: Path) -> None:
        self._home = home

    def keep(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            file = self._home / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def open(self) -> PlanFiles:
        return directory.DirectoryFiles(self._home)

    def read(self, path: str) -> str | None:
        file = self._home / path
        return file.read_text(encoding="utf-8") if file.exists() else None


class _Suite(plan_suite.PlanSuite):
    def test_cache_is_forgotten(self, host: plan_suite.PlanHost) -> None:
        """The cache of the old parameters is deleted, and no other."""
        cached = {
            f"__cache__/__cache_overcloud_{name}": "x"
            for name in ("tripleo.parameters.get", "tripleo.roles.get")
        }
        plan = plan_suite.make(host, {**plan_suite.FILES, **cached})
        plan.write_parameters({"A": "1"}, [])

        assert [host.read(path) for path in cached] == [None, "x"]


class TestMemory(_Suite):
    @pytest.fixture
    def host(self) -> plan_suite.PlanHost:
        return _InMemory()


class TestDirectory(_Suite):
    @pytest.fixture
    def host(self, tmp_path: Path) -> plan_suite.PlanHost:
        return _InDirectory(tmp_path)
