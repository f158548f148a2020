"""Where ansible finds roles."""

from __future__ import annotations

import configparser
import os
from collections.abc import Mapping
from pathlib import Path

from imageprep_client import errors
from imageprep_client.ansible.configuration import configuration

#: The roles of this package.
SHIPPED = Path(__file__).with_name("roles")
_DEFAULT = (
    "~/.ansible/roles",
    "/usr/share/ansible/roles",
    "/etc/ansible/roles",
)


def search_path(environment: Mapping[str, str], directory: Path) -> str:
    """Where roles are looked for: the user's places, then `SHIPPED`.

    :returns: a value for ``ANSIBLE_ROLES_PATH``.
    """
    base = directory
    text = environment.get("ANSIBLE_ROLES_PATH", "")
    if not text:
        path = configuration(environment, directory)
        text = _configured(path) if path else ""
        base = path.parent if path and text else directory
    places = [place for place in text.split(os.pathsep) if place]
    return os.pathsep.join(
        [
            *(os.path.join(base, os.path.expanduser(p)) for p in places),
            *(os.path.expanduser(p) for p in _DEFAULT if not places),
            str(SHIPPED),
        ]
    )


def check(
    name: str,
    tasks_from: str,
    environment: Mapping[str, str],
    directory: Path,
) -> None:
    """See that a role, and a file with tasks of it, are there.

    What is in a collection is left to ansible to find.

    :raises InvalidArgument: when one is not.
    """
    if "." in name:
        return
    places = search_path(environment, directory).split(os.pathsep)
    homes = [os.path.join(place, name) for place in places]
    home = next(filter(os.path.isdir, homes), None)
    if not name or home is None:
        raise errors.InvalidArgument(
            f"there is no ansible role {name!r} in {', '.join(places)}",
            hint="put the directory above it into ANSIBLE_ROLES_PATH",
        )
    if tasks_from:
        tasks = os.path.join(home, "tasks")
        path = os.path.join(tasks, tasks_from)
        if not any(map(os.path.isfile, (path, f"{path}.yml", f"{path}.yaml"))):
            raise errors.InvalidArgument(
                f"the ansible role {home} has no tasks {tasks_from!r}",
                hint=f"look what is in {tasks}",
            )


def _configured(path: Path) -> str:
    """The ``roles_path`` of a configuration file, or nothing.

    What is wrong with the file ansible itself says best.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return ""
    return parser.get("defaults", "roles_path", fallback="").strip()
