"""Plans in directories are found."""

from __future__ import annotations

import pathlib

import pytest

from imageprep_client import errors
from imageprep_client.plans import base, opening
from imageprep_client.plans.opening import PlanSummary


@pytest.fixture
def home(tmp_path: pathlib.Path) -> pathlib.Path:
    """A directory with two plans, and with what is none."""
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
        (tmp_path / name / base.PLAN_ENVIRONMENT).write_text("name: x\n")
    (tmp_path / "none").mkdir()
    (tmp_path / "file").touch()
    (tmp_path / "fake" / base.PLAN_ENVIRONMENT).mkdir(parents=True)
    return tmp_path


def test_plans_in_a_directory(home: pathlib.Path) -> None:
    """Directories with a plan environment are plans, sorted."""
    assert opening.find_plans([str(home)]) == [
        PlanSummary(str(home / "a"), "directory", ""),
        PlanSummary(str(home / "b"), "directory", ""),
    ]


def test_directory_that_is_a_plan(home: pathlib.Path) -> None:
    """It is that plan; what is in it is its own."""
    (home / "a" / "inner").mkdir()
    (home / "a" / "inner" / base.PLAN_ENVIRONMENT).touch()

    (found,) = opening.find_plans([str(home / "a")])
    assert found.name == str(home / "a")


def test_several_directories(home: pathlib.Path) -> None:
    """Each plan is there once."""
    found = opening.find_plans([str(home / "b"), str(home)])

    assert [each.name for each in found] == [str(home / n) for n in "ab"]


def test_no_plans(home: pathlib.Path) -> None:
    """A directory need not have plans."""
    assert not opening.find_plans([str(home / "none")])


@pytest.mark.parametrize("name", ["absent", "file"])
def test_no_directory(home: pathlib.Path, name: str) -> None:
    """A file has no plans."""
    with pytest.raises(errors.InvalidArgument, match=f"{name}: no"):
        opening.find_plans([str(home / name)])


def test_time_of_parameters(home: pathlib.Path) -> None:
    """It is what the file with the parameters says."""
    plan = opening.open_plan(directory=str(home / "a"))
    plan.write_parameters({}, ["Generated on 2020-01-01T00:00:00Z by:"])

    (found,) = opening.find_plans([str(home / "a")])
    assert found.time == "2020-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("name", "where", "problem"),
    [
        ("", "", "which plan is not said"),
        ("x", "y", "plan x: it is given by name and by directory"),
        ("x", "", "plan x: plans in the cloud cannot be used"),
    ],
)
def test_which_plan(name: str, where: str, problem: str) -> None:
    """One plan is opened, where it can be reached."""
    with pytest.raises(errors.InvalidArgument, match=problem):
        opening.open_plan(name, directory=where)


def test_list_without_cloud() -> None:
    """Without directories the plans of the cloud are asked for."""
    with pytest.raises(errors.InvalidArgument, match="cannot be listed"):
        opening.find_plans([])
