"""Parameters as deployments have always had them.

Each case in ``tests/golden/parameters.yaml`` has an environment, roles, and
the images of the parameters that deployments of release zed got for them from
the tool before this one (its version 18; the time was 2026-01-02 03:04:05, the
undercloud's registry ``uc.ctlplane:8787``).
"""

import datetime
import pathlib

import pytest
import yaml

from imageprep_client import catalog
from imageprep_client.container import worklist
from imageprep_client.heat import environment, parameters, roles, services

GOLDEN = yaml.safe_load(
    (pathlib.Path(__file__).parents[2] / "golden/parameters.yaml").read_text()
)
CASES = GOLDEN["cases"]
ROLES = {role["name"]: role for role in GOLDEN["roles"]}


def test_cases():
    """The cases are there: none would pass, too."""
    assert len(CASES) == 42


@pytest.mark.parametrize("name", CASES)
def test_parameters(name):
    """The text under `about` in the file."""
    case = CASES[name]
    merged = environment.merge(
        [environment.from_data(case["environment"], "e")]
    )
    wanted = parameters.parse(merged)
    deployed = roles.parse([ROLES[role] for role in case["roles"]], "r")
    enabled = services.enabled(merged, deployed)
    work = worklist.build(
        worklist.select(wanted, catalog.load("zed"), enabled),
        pins={},
        parameters=wanted,
        undercloud_registry=lambda: "uc.ctlplane:8787",
        now=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    )
    assert work.parameters == {
        parameter: image
        for image, filled in case["images"].items()
        for parameter in filled
    }
