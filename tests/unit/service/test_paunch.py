"""Startup configurations of paunch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from imageprep_client import errors
from imageprep_client.service.definitions import paunch


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"nova_db_sync": {"image": "q.io/a/b:1", "detach": False}},
        {"step_1": {"nova_api": {"image": "q.io/a/b:1"}}},
    ],
)
def test_files_without_a_service(tmp_path: Path, document: object) -> None:
    """A file of which nothing can be adopted is refused."""
    path = tmp_path / "step.json"
    path.write_text(json.dumps(document))
    with pytest.raises(errors.InvalidFile, match="no container that keeps"):
        paunch.load(str(path))


def test_limits_of_libvirt(tmp_path: Path) -> None:
    """All processors are podman's default; processes are limited."""
    path = tmp_path / "nova_libvirt.json"
    path.write_text(
        '{"image": "x/y:1", "cpuset_cpus": "all", "pids_limit": 9}'
    )
    service = paunch.load(str(path))["nova_libvirt"]
    assert "cpuset" not in service.options
    assert service.podman_args == ("--pids-limit=9",)
