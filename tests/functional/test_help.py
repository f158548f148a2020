"""The help of every command."""

from __future__ import annotations

import importlib.metadata
import re

import pytest
from openstackclient import shell

from tests.conftest import Golden
from tests.functional import base

COMMANDS = sorted(
    entry.name.replace("_", " ").split()[1:]
    for entry in importlib.metadata.entry_points(
        group="openstack.image_prepare.v1"
    )
    if entry.name.startswith("image-prepare_")
)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help(
    openstack: base.OpenStack, golden: Golden, words: list[str]
) -> None:
    """The help names every option, and is as it was looked at.

    An option or a file is not broken at a hyphen, so it can be copied.
    """
    text = base.own_help(openstack.help("image-prepare", *words))
    golden.check(f"{'-'.join(words)}-help.txt", text, normal=base.normal_help)
    assert not [line for line in text.splitlines() if line.endswith("-")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_width(
    openstack: base.OpenStack,
    words: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The whole help, usage included, fits a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    text = openstack.help("image-prepare", *words)
    assert max(map(len, text.splitlines())) <= 80


REGISTRIES = {
    *("--insecure-registry", "--cacert", "--authfile", "--token-server"),
    "--concurrency",
}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_options_for_registries(
    openstack: base.OpenStack, words: list[str]
) -> None:
    """A command that reaches registries takes all options for that."""
    text = openstack.help("image-prepare", *words)
    options = set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.M))
    assert options & REGISTRIES in (set(), REGISTRIES)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_options_of_the_shell(
    openstack: base.OpenStack, words: list[str]
) -> None:
    """The shell takes no option of a command for one of its own.

    It leaves those in ``plugin`` to commands; see `_keep_options` there.
    """
    parser = shell.OpenStackShell().parser
    help_text = openstack.help("image-prepare", *words)
    for option in re.findall(r"^  (?:-\w, )?(--[\w-]+)", help_text, re.M):
        if option in ("--help", "--log-file", "--version"):
            continue
        assert option not in parser._option_string_actions
        assert not parser._get_option_tuples(option)
