"""Roles files."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.heat import roles


def refused(data) -> errors.InvalidFile:
    with pytest.raises(errors.InvalidFile) as caught:
        roles.parse(data, "roles.yaml")
    assert caught.value.path == "roles.yaml"
    return caught.value


def test_load(tmp_path):
    """Several files are one list, in order."""
    (tmp_path / "a.yaml").write_text(
        "- name: Compute\n  CountDefault: 2\n  ServicesDefault: [A, B]\n"
        "  networks: {}\n"
    )
    (tmp_path / "b.yaml").write_text("- name: Controller\n")
    found = roles.load([str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")])
    assert found == (
        roles.Role("Compute", 2, ("A", "B")),
        roles.Role("Controller", 0, ()),
    )


def test_no_files():
    """Without files there are no roles."""
    assert roles.load([]) == ()


def test_count_as_a_string():
    """A count may be quoted."""
    data = [{"name": "A", "CountDefault": "3"}]
    assert roles.parse(data, "f")[0].count_default == 3


def test_role_in_two_files(tmp_path):
    """The error names both files and the role."""
    paths = [str(tmp_path / name) for name in ("a.yaml", "b.yaml")]
    for path in paths:
        with open(path, "w") as file:
            file.write("- name: Compute\n")
    with pytest.raises(errors.InvalidFile) as caught:
        roles.load(paths)
    assert str(caught.value) == (
        f"{paths[1]}: [0].name: role Compute is also defined in {paths[0]}"
    )


def test_role_twice_in_a_file():
    """A name is one role."""
    error = refused([{"name": "A"}, {"name": "A"}])
    assert error.key == "[1].name"
    assert "defined twice" in error.problem


@pytest.mark.parametrize("data", [None, {"name": "A"}, "A"])
def test_document_that_is_no_list(data):
    """A roles file is a list."""
    assert "expected a list of roles" in str(refused(data))


def test_element_that_is_no_mapping():
    """The error names the element."""
    assert refused([{"name": "A"}, "B"]).key == "[1]"


@pytest.mark.parametrize("role", [{}, {"name": ""}, {"name": None}])
def test_role_without_a_name(role):
    """The error has the key path of the name."""
    assert refused([role]).key == "[0].name"


@pytest.mark.parametrize("services", [None, "A", [1], {"A": 1}])
def test_services_that_are_no_list_of_strings(services):
    """The error has the key path."""
    error = refused([{"name": "A", "ServicesDefault": services}])
    assert error.key.startswith("[0].ServicesDefault")


@pytest.mark.parametrize("count", [-1, 1.5, "x", None, True])
def test_count_that_is_none(count):
    """The error has the key path."""
    error = refused([{"name": "A", "CountDefault": count}])
    assert error.key == "[0].CountDefault"
