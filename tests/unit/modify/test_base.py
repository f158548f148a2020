"""Requests to a modifier."""

from __future__ import annotations

from typing import Any

import pytest

from imageprep_client.modify.base import ImageChange


def change(**variables: Any) -> ImageChange:
    return ImageChange(
        source_image="r.io/a:1",
        target_image="d.io/a:1",
        append_tag="-x",
        ansible_role="r",
        variables=variables,
    )


def test_results() -> None:
    """By the target, and by the source for roles that know no target."""
    assert change().result == "d.io/a:1-x"
    assert change().other_result == "r.io/a:1-x"


@pytest.mark.parametrize(
    ("variables", "secrets"),
    [
        ({"rpms_path": "/r"}, set()),
        ({"my_password": "p"}, {"p"}),
        ({"API_TOKEN": 7}, {"7"}),
        ({"secrets": {"a": "x", "b": ["y"]}}, {"x", "y"}),
        ({"repos": [{"password": "z", "url": "u"}]}, {"z"}),
        ({"password": "", "token": None}, set()),
    ],
)
def test_secrets(variables: dict[str, Any], secrets: set[str]) -> None:
    """Values are secret by the name of their key, or of one above it."""
    assert change(**variables).secrets == secrets


def test_no_secret_is_shown() -> None:
    """The variables are in no representation."""
    assert "hunter2" not in repr(change(password="hunter2"))


def test_tasks_from() -> None:
    """It is one of the variables; empty without it."""
    assert change(tasks_from="t.yml").tasks_from == "t.yml"
    assert change().tasks_from == ""
