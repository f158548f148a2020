"""Temporary directories: private, and gone afterwards."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from imageprep_client import buildah, errors


@pytest.fixture
def above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """TMPDIR of the test."""
    path = tmp_path / "tmp"
    path.mkdir()
    monkeypatch.setenv("TMPDIR", str(path))
    return path


def test_it_is_private_and_goes(above: Path) -> None:
    """Nobody else can read it, and nothing of it stays."""
    with buildah.temporary() as path:
        assert path.parent == above
        assert path.stat().st_mode & 0o777 == 0o700
        (path / "file").touch()
    assert not os.listdir(above)


def test_it_goes_when_it_is_used_badly(above: Path) -> None:
    """An error in between does not keep it."""
    with pytest.raises(KeyboardInterrupt), buildah.temporary():
        raise KeyboardInterrupt
    assert not os.listdir(above)


def test_what_killed_runs_left_goes(above: Path) -> None:
    """Directories of processes that are no more are removed, others not."""
    (above / "imageprep-1-0-abc").mkdir()
    (above / "other").mkdir()
    with buildah.temporary():
        pass
    assert os.listdir(above) == ["other"]


def test_no_place_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TMPDIR that is none is named, with the remedy."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "gone"))
    with (
        pytest.raises(errors.LocalStorageError, match="gone") as raised,
        buildah.temporary(),
    ):
        pass
    assert "TMPDIR" in str(raised.value.hint)
