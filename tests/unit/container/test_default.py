"""The environment that a deployment starts from."""

from __future__ import annotations

import pathlib

import pytest
import yaml

from imageprep_client import errors
from imageprep_client.container import default


def test_options_add_to_the_values() -> None:
    """Each option adds its key and changes no other."""
    plain = yaml.safe_load(default.environment("zed"))
    full = yaml.safe_load(
        default.environment(
            "zed", local_push_destination=True, registry_login=True
        )
    )

    defaults = full["parameter_defaults"]
    assert defaults.pop("ContainerImageRegistryLogin") is True
    for entry in defaults["ContainerImagePrepare"]:
        assert entry.pop("push_destination") is True
    assert full == plain


def test_header_is_comments() -> None:
    """The header is above the environment, as comments."""
    assert default.environment(header=["x", "y"]).startswith("# x\n# y\n")


def test_file_has_the_text(tmp_path: pathlib.Path) -> None:
    """The returned text is the text that is written."""
    path = tmp_path / "env.yaml"

    text = default.environment(output_env_file=str(path))

    assert path.read_text() == text


def test_release_without_default_writes_nothing(
    tmp_path: pathlib.Path,
) -> None:
    """An error leaves the file that is there."""
    path = tmp_path / "env.yaml"
    path.write_text("old")

    with pytest.raises(errors.InvalidArgument):
        default.environment("queens", output_env_file=str(path))
    assert [*tmp_path.iterdir()] == [path]
