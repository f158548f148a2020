"""Parameters as deployments have always had them.

Each file in ``tests/golden/parameters`` has an environment, roles, and the
parameters that deployments of release zed got for them from the tool before
this one (its version 18; the time was 2026-01-02 03:04:05, the undercloud's
registry ``uc.ctlplane:8787``).
"""

import datetime
import json
import pathlib

import pytest

from imageprep_client import catalog
from imageprep_client.container import worklist
from imageprep_client.heat import environment, parameters, roles, services

GOLDEN = pathlib.Path(__file__).parents[2] / "golden" / "parameters"
CASES = sorted(path.stem for path in GOLDEN.glob("*.json"))


def test_cases():
    """The cases are there: none would pass, too."""
    assert len(CASES) == 42


@pytest.mark.parametrize("name", CASES)
def test_parameters(name):
    """The text under `about` in the file."""
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    merged = environment.merge(
        [environment.from_data(case["environment"], "e")]
    )
    wanted = parameters.parse(merged)
    enabled = services.enabled(merged, roles.parse(case["roles"], "r"))
    work = worklist.build(
        worklist.select(wanted, catalog.load("zed"), enabled),
        pins={},
        parameters=wanted,
        undercloud_registry=lambda: "uc.ctlplane:8787",
        now=datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC),
    )
    assert work.parameters == case["expected"]
