"""Commands and options of the predecessor, and what to use now."""

from __future__ import annotations

import configparser
import importlib.metadata
import pathlib
from unittest import mock

import pytest

from imageprep_client.cli import predecessor
from tests.functional import base

SETUP = configparser.ConfigParser()
SETUP.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
COMMANDS = [
    line.partition(" = ")[0].replace("_", " ")
    for line in SETUP["entry_points"]["openstack.image_prepare.v1"].split("\n")
    if "predecessor" in line
]


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("words", [(), ("-e", "env.yaml", "--namespace", "x")])
def test_commands(
    openstack: base.OpenStack, name: str, words: tuple[str, ...]
) -> None:
    """Whatever the options, it is said what to use; exit status 2."""
    openstack(
        *name.split(),
        *words,
        status=2,
        stderr=f"openstack {name}: a command of the predecessor[^\n]*not"
        " installed\nhint: use instead: openstack image-prepare [^\n]*",
    )


@pytest.mark.parametrize("name", COMMANDS)
def test_help(openstack: base.OpenStack, name: str) -> None:
    """So does its help."""
    text = " ".join(openstack.help(*name.split()).split())
    assert "Use instead: openstack image-prepare " in text


def test_answers_name_commands_that_exist(openstack: base.OpenStack) -> None:
    """The new command has a help."""
    for name in COMMANDS:
        instead = openstack(*name.split(), status=2, stderr=".*").stderr
        words = instead.rpartition("openstack ")[2].split()
        assert openstack.help(*words)


def test_predecessor_that_is_installed() -> None:
    """Its own command of the name is the one that runs."""
    command = mock.Mock(spec=["run"])
    entry = mock.create_autospec(importlib.metadata.EntryPoint, instance=True)
    entry.group = "openstack.tripleoclient.v2"
    entry.load.return_value = mock.Mock(return_value=command, spec=[])
    with mock.patch.object(
        importlib.metadata, "entry_points", return_value=[entry], autospec=True
    ):
        made = predecessor.PredecessorCommand(
            None, None, cmd_name="tripleo container image prepare"
        )
    assert made is command


@pytest.mark.parametrize("option", predecessor.RUN)
@pytest.mark.parametrize("form", ["{} value", "{}=value", "{}"])
def test_options(openstack: base.OpenStack, option: str, form: str) -> None:
    """An option that is gone names what is used instead; exit status 2."""
    openstack(
        *("image-prepare", "run", *form.format(option).split()),
        status=2,
        stderr=f"{option}: this option of the predecessor does not exist here"
        "\nhint: use instead: [^\n]+",
    )
