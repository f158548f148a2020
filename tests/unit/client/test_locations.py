"""Places and images, as commands name them."""

from __future__ import annotations

import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.client import archives, locations
from imageprep_client.oci.location import Location


def test_registry_named_like_a_file(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file of that name may be meant: a prefix says that it is not."""
    monkeypatch.chdir(tmp_path)
    host = "registry.test"
    assert locations.place(host) == Location(host)
    pathlib.Path(host).touch()
    with pytest.raises(errors.InvalidArgument) as caught:
        locations.place(host)
    hint = str(caught.value.hint)
    archive, _, registry = hint.partition(", a registry as ")
    assert archive == f"name an archive as oci-archive:{host}"
    assert locations.place(registry) == Location(host)


def test_registry_named_like_a_directory(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same for what is read from."""
    monkeypatch.chdir(tmp_path)
    host = "registry.test"
    pathlib.Path(host).mkdir()
    with pytest.raises(errors.InvalidArgument) as caught:
        archives.place(host)
    registry = str(caught.value.hint).rpartition(" ")[2]
    assert archives.place(registry) == Location(host)
