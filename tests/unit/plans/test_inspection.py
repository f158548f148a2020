"""Which images a plan deploys."""

from __future__ import annotations

import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.plans import base, inspection
from imageprep_client.testing.plans.memory import MemoryPlan


@pytest.fixture
def plan() -> MemoryPlan:
    """A plan whose last environment has an image of its own."""
    return MemoryPlan(
        {
            base.PLAN_ENVIRONMENT: f"""\
environments: [{{path: {base.PARAMETERS}}}, {{path: user.yaml}}]
parameter_defaults: {{ContainerZImage: "r/z:own", Secret: canary}}
""",
            base.PARAMETERS: "parameter_defaults: {ContainerXImage: 'r/x:1',"
            " ContainerAImage: 'r/a:1', DockerInsecureRegistryAddress: [x]}",
            "user.yaml": "parameter_defaults: {ContainerXImage: 'r/x:user',"
            " ComputeParameters: {ContainerXImage: 'r/x:own', Secret: x}}",
        }
    )


def test_images(plan: MemoryPlan) -> None:
    """Those that a deployment would use, and nothing else."""
    assert [*inspection.images(plan).items()] == [
        ("ComputeParameters.ContainerXImage", "r/x:own"),
        ("ContainerAImage", "r/a:1"),
        ("ContainerXImage", "r/x:user"),
        ("ContainerZImage", "r/z:own"),
    ]


def test_difference(plan: MemoryPlan, tmp_path: pathlib.Path) -> None:
    """Only what the file sets otherwise; the rest of the plan is not shown."""
    file = tmp_path / "env.yaml"
    file.write_text(
        "parameter_defaults: {ContainerAImage: 'r/a:1', ContainerNewImage:"
        " 'r/n:1', ContainerZImage: 'r/z:2', Secret: other,"
        " ComputeParameters: {ContainerXImage: 'r/x:1'}}"
    )
    assert inspection.difference(plan, str(file)) == [
        base.ParameterChange(
            "ComputeParameters.ContainerXImage", "r/x:own", "r/x:1"
        ),
        base.ParameterChange("ContainerNewImage", "", "r/n:1"),
        base.ParameterChange("ContainerZImage", "r/z:own", "r/z:2"),
    ]


def test_no_environment(plan: MemoryPlan, tmp_path: pathlib.Path) -> None:
    """The plan is compared with heat environments only."""
    file = tmp_path / "env.yaml"
    file.write_text("- x")

    with pytest.raises(errors.InvalidFile, match=str(file)):
        inspection.difference(plan, str(file))


def test_image_cannot_reach_a_terminal_raw() -> None:
    """Values are shown as one line of text."""
    text = 'parameter_defaults: {ContainerXImage: "\\e[0mx\\ny"}'
    images = inspection.images(MemoryPlan({base.PLAN_ENVIRONMENT: text}))

    assert images == {"ContainerXImage": "\\x1b[0mx\\ny"}
