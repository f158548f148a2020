"""The configuration of storage that is a run's own."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from imageprep_client import errors
from imageprep_client.modify import storage

STORE = {"GraphDriverName": "overlay", "GraphRoot": "/g", "RunRoot": "/r"}


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"a": 'x"\\\n\t', "b": 1, "c": True, "d": ["x", "y"], "e": []},
        {"storage": {"driver": "x", "options": {"overlay": {"a b": "ö"}}}},
    ],
)
def test_toml(document: dict[str, Any]) -> None:
    """Written records are read as they were."""
    assert tomllib.loads(storage.toml(document)) == document


def configured(path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    environment = {"CONTAINERS_STORAGE_CONF": str(path)}
    found = storage.configuration(environment, STORE, Path("/own"))
    return dict(found)


def test_place(tmp_path: Path) -> None:
    """Images are below the directory, and by the host's driver."""
    assert configured(tmp_path / "c", "") == {
        "storage": {
            "driver": "overlay",
            "graphroot": "/own/images",
            "runroot": "/own/run",
        }
    }


def test_options_are_kept(tmp_path: Path) -> None:
    """The driver works as it does for the host."""
    text = (
        '[storage]\ngraphroot = "/x"\nrootless_storage_path = "/y"\n'
        '[storage.options]\nadditionalimagestores = ["/z"]\n'
        '[storage.options.overlay]\nmount_program = "/bin/fuse"\n'
    )
    found = configured(tmp_path / "c", text)["storage"]
    assert found["options"] == {"overlay": {"mount_program": "/bin/fuse"}}
    assert "rootless_storage_path" not in found


def test_places_are_not_kept(tmp_path: Path) -> None:
    """No key of the host leads to where its images are."""
    text = (
        '[storage]\nimagestore = "/i"\ntransient_store = true\n'
        '[storage.options]\nimagestore = "/j"\nmountopt = "nodev"\n'
        'additionallayerstores = ["/k"]\nremap-uids = "0:1:2"\n'
        '[storage.options.overlay]\nimagestore = "/l"\nsize = "1"\n'
        '[storage.options.vfs]\nmountopt = "x"\n[other]\na = "/m"\n'
    )
    assert configured(tmp_path / "c", text) == {
        "storage": {
            "driver": "overlay",
            "graphroot": "/own/images",
            "runroot": "/own/run",
            "options": {"mountopt": "nodev"},
        }
    }


def test_broken(tmp_path: Path) -> None:
    """A configuration that cannot be read is named."""
    with pytest.raises(errors.LocalStorageError, match="c: "):
        configured(tmp_path / "c", "[storage")


def test_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A host need not be configured."""
    monkeypatch.setattr(storage, "_SYSTEM", (str(tmp_path),))
    monkeypatch.setenv("HOME", str(tmp_path))
    found = storage.configuration({}, STORE, Path("/own"))
    assert found["storage"]["driver"] == "overlay"
