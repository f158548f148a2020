"""States of the file with the image parameters."""

from __future__ import annotations

import pytest

from imageprep_client.plans import base
from imageprep_client.plans.revision import State, is_image


def state(text: str) -> State:
    """The state that a text has."""
    return State(text.encode())


@pytest.mark.parametrize(
    ("head", "time", "command"),
    [
        (
            "# Generated on 2026-11-21T09:30:00+00:00 by:\n"
            "# openstack image-prepare run --plan x\n",
            "2026-11-21T09:30:00+00:00",
            "openstack image-prepare run --plan x",
        ),
        (
            "# Made with this on 2018-10-09T12:47:03.462131\n#\n"
            "#   openstack overcloud container image prepare -e x\n#\n\n",
            "2018-10-09T12:47:03.462131",
            "openstack overcloud container image prepare -e x",
        ),
        ("# by hand\r\n", "", ""),
        ("# on 2020-01-01\n", "", ""),
        ("# openstack \x1b[31mred\n", "", "openstack \\x1b[31mred"),
        ("# \udcff\n", "", ""),
        ("", "", ""),
    ],
)
def test_origin(head: str, time: str, command: str) -> None:
    """The comments at the top say when and by what it was made."""
    content = head.encode(errors="surrogateescape") + b"parameter_defaults:\n"
    found = State(content)

    assert (found.time, found.command) == (time, command)


def test_comment_below_the_top() -> None:
    """Only the first comments count."""
    found = state("a: 1\n# on 2020-01-01T00:00:00Z\n# openstack x\n")

    assert (found.time, found.command) == ("", "")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("# a\nparameter_defaults: {a: 1, b: 2}", "# b\n", False),
        (
            "# a\nparameter_defaults: {a: 1, b: 2}",
            "parameter_defaults:\n  b: 2 # c\n  a: 1\n",
            True,
        ),
        ("a: 1", "a: true", False),
        ("a: 1", "a: '1'", False),
        ("a: [1, 2]", "a: [2, 1]", False),
        ("a: &x {b: 1}\nc: *x", "a: {b: 1}\nc: {b: 1}", True),
        ("a: [b", "a: [b", True),
        ("a: [b", "a: [b ", False),
    ],
)
def test_says(one: str, other: str, same: bool) -> None:
    """Two states say the same when a deployment cannot tell them apart."""
    assert state(one).says(state(other)) is same
    assert state(other).says(state(one)) is same


@pytest.mark.parametrize(
    ("old", "new"), [("1", "2"), ("[1]", "[2]"), ("{a: 1}", "{}"), ("x", "")]
)
def test_secret_values(old: str, new: str) -> None:
    """A value that is no image is not shown, only that it differs."""
    text = "parameter_defaults: {ContainerImageRegistryCredentials: %s}"
    before = state(text % old)

    (change,) = state(text % new).changes(before)
    assert change == base.ParameterChange(
        "ContainerImageRegistryCredentials", "***", "***"
    )


def test_images_of_a_role() -> None:
    """Each is a change of its own; other values of the role stay masked."""
    text = (
        "parameter_defaults: {ComputeParameters: {ContainerXImage: 'r/x:%s',"
        " Secret: %s}}"
    )
    assert state(text % (2, "b")).changes(state(text % (1, "a"))) == [
        base.ParameterChange(
            "ComputeParameters.ContainerXImage", "r/x:1", "r/x:2"
        ),
        base.ParameterChange("ComputeParameters.Secret", "***", "***"),
    ]


def test_odd_names() -> None:
    """Names need not be strings, and cannot reach a terminal raw."""
    found = state('parameter_defaults: {1: a, "x\\e[0m": b}')

    assert [change.parameter for change in found.changes(None)] == [
        "1",
        "x\\x1b[0m",
    ]


def test_broken_state_has_no_values() -> None:
    """All that a broken state can be asked for is its problem."""
    broken = State.broken("gone")

    assert (broken.values, broken.problem) == ({}, "gone")


@pytest.mark.parametrize(
    ("name", "value", "image"),
    [
        ("ContainerNovaApiImage", "r/x:1", True),
        ("DockerNovaApiConfigImage", "r/x:1", True),
        ("AlertManagerContainerImage", "r/x:1", True),
        ("ContainerNovaApiImage", ["r/x:1"], False),
        ("ContainerImagePrepare", "r/x:1", False),
        ("NovaImage", "r/x:1", False),
        (1, "r/x:1", False),
    ],
)
def test_is_image(name: object, value: object, image: bool) -> None:
    """Image parameters are known by their names."""
    assert is_image(name, value) is image
