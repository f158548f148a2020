"""The files that ansible is given."""

from __future__ import annotations

import stat
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from imageprep_client.ansible import documents
from imageprep_client.modify import playbook
from imageprep_client.modify.base import ImageChange

INVENTORY, PLAYBOOK = "inventory/images.yaml", "project/plays.yaml"


class Loader(yaml.SafeLoader):
    """Knows the tag of texts that are no templates."""


def construct_unsafe(
    loader: yaml.SafeLoader, node: yaml.ScalarNode
) -> tuple[str, object]:
    return "unsafe", loader.construct_scalar(node)


Loader.add_constructor("!unsafe", construct_unsafe)


def change(name: str = "a", role: str = "r", **variables: Any) -> ImageChange:
    return ImageChange(
        source_image=f"r.io/{name}:1",
        target_image=f"d.io/{name}:1",
        append_tag="-x",
        ansible_role=role,
        variables=variables,
    )


def written(
    directory: Path, *changes: ImageChange, keep_going: bool = False
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The inventory and the plays."""
    for name, document in (
        (INVENTORY, playbook.inventory(changes).document()),
        (PLAYBOOK, playbook.plays(changes, keep_going=keep_going)),
    ):
        documents.write(directory / name, document)
    inventory, plays = (
        yaml.load((directory / name).read_text(), Loader)  # noqa: S506
        for name in (INVENTORY, PLAYBOOK)
    )
    return inventory["all"], plays


def test_images_are_hosts(tmp_path: Path) -> None:
    """One play for all images of a role."""
    inventory, plays = written(tmp_path, change("a"), change("b"))
    assert list(inventory["children"]["role_0"]["hosts"]) == [
        "image-0",
        "image-1",
    ]
    assert [play["hosts"] for play in plays] == ["role_0"]


def test_play_for_each_role(tmp_path: Path) -> None:
    """And for each file of tasks of it."""
    changes = [
        change("a", "r", tasks_from="x.yml"),
        change("b", "r", tasks_from="y.yml"),
        change("c", "s"),
        change("d", "r", tasks_from="x.yml"),
    ]
    inventory, plays = written(tmp_path, *changes)
    assert [
        play["tasks"][0]["ansible.builtin.include_role"] for play in plays
    ] == [
        {"name": "r", "tasks_from": "x.yml"},
        {"name": "r", "tasks_from": "y.yml"},
        {"name": "s"},
    ]
    assert list(inventory["children"]["role_0"]["hosts"]) == [
        "image-0",
        "image-3",
    ]


def test_variables(tmp_path: Path) -> None:
    """Names are no templates; what the user wrote is passed as it is."""
    inventory, _ = written(tmp_path, change(a="{{ b }}", c=[1, {"d": None}]))
    assert inventory["children"]["role_0"]["hosts"]["image-0"] == {
        "a": "{{ b }}",
        "c": [1, {"d": None}],
        "source_image": ("unsafe", "r.io/a:1"),
        "target_image": ("unsafe", "d.io/a:1"),
        "modified_append_tag": ("unsafe", "-x"),
        "container_build_tool": "buildah",
    }


def test_reserved_variables(tmp_path: Path) -> None:
    """The user's values do not take the place of the run's."""
    inventory, _ = written(tmp_path, change(source_image="other"))
    hosts = inventory["children"]["role_0"]["hosts"]
    assert hosts["image-0"]["source_image"] == ("unsafe", "r.io/a:1")


@pytest.mark.parametrize("keep_going", [False, True])
def test_failures(tmp_path: Path, keep_going: bool) -> None:
    """One image's failure ends the others, unless they are to go on."""
    _, plays = written(tmp_path, change(), keep_going=keep_going)
    assert plays[0]["any_errors_fatal"] is not keep_going


def test_this_python(tmp_path: Path) -> None:
    """Modules run here, by the Python that this is."""
    inventory, plays = written(tmp_path, change())
    assert inventory["vars"]["ansible_connection"] == "local"
    assert inventory["vars"]["ansible_python_interpreter"] == sys.executable
    assert plays[0]["gather_facts"] is False


@pytest.mark.parametrize("name", [INVENTORY, PLAYBOOK])
def test_nobody_else_can_read(tmp_path: Path, name: str) -> None:
    """The variables may be secret."""
    written(tmp_path, change())
    assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600
