"""Which parameters name an image, told by its name alone."""

from __future__ import annotations

import pytest

from imageprep_client import catalog

NOVA = (
    "ContainerNovaApiImage",
    "ContainerNovaConfigImage",
    "ContainerNovaMetadataImage",
    "ContainerNovaMetadataConfigImage",
)


@pytest.mark.parametrize(
    "name", ["nova-api", "openstack-nova-api", "centos-binary-nova-api"]
)
def test_prefix_does_not_matter(name: str) -> None:
    """An image fills the same parameters whoever built it."""
    assert catalog.load("zed").parameters_of(name) == NOVA


def test_longest_name_counts() -> None:
    """An image whose name ends with another's is not that one."""
    found = catalog.load("stein").parameters_of("x-ironic-neutron-agent")
    assert found == ("DockerIronicNeutronAgentImage",)


def test_parameter_is_of_the_last_image() -> None:
    """A parameter that a later image fills is not named by the others."""
    table = catalog.load("zed")
    assert "ContainerNeutronConfigImage" not in table.parameters_of(
        "ironic-neutron-agent"
    )
    assert "ContainerNeutronConfigImage" in table.parameters_of(
        "neutron-server"
    )


@pytest.mark.parametrize("name", ["neutron-server", "neutron-server-ovn"])
def test_conditions(name: str) -> None:
    """Of images that exclude each other each fills the parameter."""
    assert "DockerNeutronApiImage" in catalog.load("stein").parameters_of(name)


def test_optional_images() -> None:
    """Images of another release are left out while they have no namespace."""
    assert catalog.load("train").parameters_of("nova-api") == NOVA


def test_image_named_by_a_variable() -> None:
    """An image whose whole name is a value of the release is found."""
    found = catalog.load("zed").parameters_of("daemon")
    assert found == ("ContainerCephDaemonImage",)


def test_release_without_values() -> None:
    """The names of images are known where their namespace is not."""
    found = catalog.load("queens").parameters_of("openstack-nova-compute")
    assert "DockerNovaComputeImage" in found


@pytest.mark.parametrize("name", ["unheard-of", "", "novaapi"])
def test_unknown(name: str) -> None:
    """An image of no release fills nothing."""
    assert catalog.load("zed").parameters_of(name) == ()
