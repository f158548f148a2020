"""Commands and options of the predecessor, and their replacements.

The commands exist only if python-tripleoclient, which provides them, is not
installed.
"""

from __future__ import annotations

import argparse
import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

from osc_lib.command import command

from imageprep_client import errors

NONE: Mapping[str, str] = {}
_GIVEN = "replaced_options"
_GROUP = "openstack.tripleoclient."

_SET = "{key} in set, of an entry of ContainerImagePrepare"
#: Options of ``tripleo`` and ``overcloud container image prepare``.
RUN: Mapping[str, str] = {
    "--namespace": _SET.format(key="namespace"),
    "--prefix": _SET.format(key="name_prefix"),
    "--suffix": _SET.format(key="name_suffix"),
    "--tag": _SET.format(key="tag"),
    "--neutron-driver": _SET.format(key="neutron_driver"),
    "--set": "set, of an entry of ContainerImagePrepare",
    "--tag-from-label": "tag_from_label of an entry of ContainerImagePrepare",
    "--push-destination": (
        "push_destination of an entry of ContainerImagePrepare"
    ),
    "--pull-source": "pull_source of an entry of ContainerImagePrepare",
    "--modify-role": "modify_role of an entry of ContainerImagePrepare",
    "--modify-vars": "modify_vars of an entry of ContainerImagePrepare",
    "--include": "includes, of an entry of ContainerImagePrepare",
    "--exclude": "excludes, of an entry of ContainerImagePrepare",
    "--images-file": "--output-images-file",
    "--env-file": "--output-env-file",
    "--config-file": "-e, with a file that sets ContainerImagePrepare",
    "--service-environment-file": "-e",
    "--plan-environment-file": "--plan or --plan-dir",
}
#: Options of ``overcloud container image tag discover``.
TAG: Mapping[str, str] = {"--label": "--tag-from-label"}

_COMMANDS = {
    "tripleo container image prepare": "image-prepare run",
    "tripleo container image prepare default": "image-prepare default",
    "tripleo container image list": "image-prepare image list",
    "tripleo container image show": "image-prepare image show",
    "tripleo container image delete": "image-prepare image delete",
    "tripleo container image push": "image-prepare push",
    "tripleo container image hotfix": "image-prepare hotfix",
    "overcloud container image prepare": "image-prepare run",
    "overcloud container image upload": "image-prepare run",
    "overcloud container image tag discover": "image-prepare tag discover",
}


class _Replaced(argparse.Action):
    """Records an option that was replaced; `check` names the replacement."""

    def __init__(self, *args: Any, instead: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instead = instead

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        before = getattr(namespace, _GIVEN, ())
        setattr(namespace, _GIVEN, (*before, (option_string, self.instead)))


def add_options(
    parser: argparse.ArgumentParser, replaced: Mapping[str, str]
) -> None:
    """Add the options that have been replaced."""
    for name, instead in replaced.items():
        parser.add_argument(
            name,
            action=_Replaced,
            instead=instead,
            nargs="?",
            dest=argparse.SUPPRESS,
            help=argparse.SUPPRESS,
        )


def check(parsed_args: argparse.Namespace) -> None:
    """Check that no option of the predecessor's was given.

    :raises InvalidArgument: for the first one.
    """
    for name, instead in getattr(parsed_args, _GIVEN, ()):
        raise errors.InvalidArgument(
            f"{name}: this option of the predecessor does not exist here",
            hint=f"use instead: {instead}",
        )


class PredecessorCommand(command.Command):
    """A command of python-tripleoclient."""

    deprecated = True
    auth_required = False

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        # The shell uses the command of either package.
        name = str(kwargs.get("cmd_name") or "").replace(" ", "_")
        for entry in importlib.metadata.entry_points(name=name):
            if name and entry.group.startswith(_GROUP):
                return entry.load()(*args, **kwargs)
        return super().__new__(cls)

    def get_description(self) -> str:
        """The text of ``--help``."""
        instead = _COMMANDS.get(str(self.cmd_name), "image-prepare")
        return (
            "A command of the predecessor, python-tripleoclient, which is not"
            f" installed. Use instead: openstack {instead}"
        )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        # Its options are words like all others.
        parser.prefix_chars = "\0"
        parser.add_argument("words", nargs="*")
        return parser

    def take_action(self, parsed_args: argparse.Namespace) -> None:
        """Name the replacement."""

    def run(self, parsed_args: argparse.Namespace) -> int:
        """Name the replacement; nothing is done."""
        name = str(self.cmd_name)
        self.log.error(
            "openstack %s: a command of the predecessor, python-tripleoclient,"
            " which is not installed",
            name,
        )
        self.log.error("hint: use instead: openstack %s", _COMMANDS[name])
        return 2
