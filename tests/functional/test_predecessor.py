"""Commands and options of the predecessor, and what to use now."""

from __future__ import annotations

import configparser
import importlib.metadata
import pathlib
from unittest import mock

from imageprep_client.cli import predecessor
from tests.functional import base

SETUP = configparser.ConfigParser()
SETUP.read(pathlib.Path(__file__).parents[2] / "setup.cfg")
COMMANDS = [
    line.partition(" = ")[0].replace("_", " ")
    for line in SETUP["entry_points"]["openstack.image_prepare.v1"].split("\n")
    if "predecessor" in line
]


def test_commands(openstack: base.OpenStack) -> None:
    """Whatever the options, it is said what to use, which exists; status 2."""
    for name in COMMANDS:
        told = openstack(
            *name.split(),
            *("-e", "env.yaml", "--namespace", "x"),
            status=2,
            stderr=f"openstack {name}: a command of the predecessor[^\n]*not"
            " installed\nhint: use instead: openstack image-prepare [^\n]*",
        ).stderr
        text = " ".join(openstack.help(*name.split()).split())
        assert "Use instead: openstack image-prepare " in text
        assert openstack.help(*told.rpartition("openstack ")[2].split())


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


def test_options(openstack: base.OpenStack) -> None:
    """An option that is gone names what is used instead; exit status 2."""
    for given in (
        *((option, "value") for option in predecessor.RUN),
        ("--namespace=value",),
        ("--namespace",),
    ):
        openstack(
            *("image-prepare", "run", *given),
            status=2,
            stderr=f"{given[0].partition('=')[0]}: this option of the"
            " predecessor does not exist here\nhint: use instead: [^\n]+",
        )
