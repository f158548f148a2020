"""The services that are enabled."""

from __future__ import annotations

import pytest

from imageprep_client import errors
from imageprep_client.heat import environment, services
from imageprep_client.heat.roles import Role

COMPUTE = Role("Compute", 1, ("A", "B"))
CONTROLLER = Role("Controller", 0, ("B", "C"))


def enabled(parameters=None, registry=None, roles=(COMPUTE, CONTROLLER)):
    """The services that these sections enable."""
    layer = environment.from_data(
        {"parameter_defaults": parameters, "resource_registry": registry},
        "env.yaml",
    )
    return services.enabled(environment.merge([layer]), roles)


def test_no_roles():
    """Without roles nothing is known about services."""
    assert enabled(roles=()) is None


def test_defaults():
    """A role without nodes has no services."""
    assert enabled() == {"A", "B"}


@pytest.mark.parametrize("count", [3, "3", " 3 "])
def test_count(count):
    """The parameter goes before the default; it may be a string."""
    assert enabled({"ControllerCount": count}) == {"A", "B", "C"}


@pytest.mark.parametrize("count", [0, "0", -1])
def test_count_without_nodes(count):
    """Zero drops the role, less does, too."""
    assert enabled({"ComputeCount": count}) == set()


@pytest.mark.parametrize("value", [["X", "B"], "X,B", "X, B"])
def test_services_of_a_role(value):
    """The parameter replaces the default, as list or string."""
    assert enabled({"ComputeServices": value}) == {"X", "B"}


def test_services_of_a_role_without_nodes():
    """They do not bring the role back."""
    assert enabled({"ControllerServices": ["X"]}) == {"A", "B"}


def test_disabled_service():
    """A service mapped to OS::Heat::None is left out, wherever it is named."""
    registry = {"A": "OS::Heat::None", "X": "OS::Heat::None", "B": "b.yaml"}
    found = enabled({"ControllerCount": 1, "ControllerServices": ["X", "C"]})
    assert found == {"A", "B", "C", "X"}
    found = enabled(
        {"ControllerCount": 1, "ControllerServices": ["X", "C"]}, registry
    )
    assert found == {"B", "C"}


@pytest.mark.parametrize("count", ["many", 1.5, None, True, [1]])
def test_bad_count(count):
    """The error names the file that set it and the key."""
    with pytest.raises(errors.InvalidFile) as caught:
        enabled({"ComputeCount": count})
    assert caught.value.path == "env.yaml"
    assert caught.value.key == "parameter_defaults.ComputeCount"


@pytest.mark.parametrize("value", [None, 1, {"A": 1}, [1]])
def test_bad_services(value):
    """The error names the file that set them and the key."""
    with pytest.raises(errors.InvalidFile) as caught:
        enabled({"ComputeServices": value})
    assert caught.value.key.startswith("parameter_defaults.ComputeServices")
