"""Find the roles of ansible."""

from __future__ import annotations

import configparser
import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from imageprep_client import errors
from imageprep_client.ansible.configuration import configuration
from imageprep_client.modify.base import InvalidVariable

#: The roles of this package.
SHIPPED = Path(__file__).with_name("roles")
#: The role of this package.
ROLE = "tripleo-modify-image"
#: Variables that the product itself sets.
_OURS = frozenset(
    (
        "source_image",
        "target_image",
        "modified_append_tag",
        "container_build_tool",
    )
)
#: Directories that are mounted in a container.
_MOUNTED = frozenset(("rpms_path", "yum_repos_dir_path", "yum_cache"))
#: A file that the directory must have.
_CONTENT = {"rpms_path": "*.rpm", "modify_dir_path": "Dockerfile"}
#: The name of a role of a collection: namespace, collection and role.
_OF_COLLECTION = re.compile(r"[a-z_]\w*\.[a-z_]\w*\.[\w.]+")
#: From this similarity on, a variable is taken for a mistyped one.
_MISTYPED = 0.85
_DEFAULT = (
    "~/.ansible/roles",
    "/usr/share/ansible/roles",
    "/etc/ansible/roles",
)


def search_path(environment: Mapping[str, str], directory: Path) -> str:
    """Make the search path of roles: the user's directories, then `SHIPPED`.

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
    name: str, tasks_from: str, environment: Mapping[str, str], directory: Path
) -> Path | None:
    """Check that a role exists and has a file with these tasks.

    Roles of collections are not checked.

    :returns: the directory of the role; None for a role of a collection.
    :raises InvalidArgument: when the role does not exist.
    :raises InvalidVariable: when the file does not exist.
    """
    if _OF_COLLECTION.fullmatch(name):
        return None
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
            raise InvalidVariable(
                "tasks_from",
                f"the ansible role {home} has no tasks {tasks_from!r}",
                hint=_task_files(Path(tasks)),
            )
    return Path(home)


def _task_files(tasks: Path) -> str:
    """A hint with the files that can be named."""
    names = sorted(path.name for path in tasks.glob("*.y*ml"))
    return f"its tasks are {', '.join(names) or 'missing'}"


def _configured(path: Path) -> str:
    """Read the ``roles_path`` of a configuration file; may be empty.

    Mistakes in the file are reported by ansible itself.
    """
    parser = configparser.ConfigParser(interpolation=None, strict=False)
    try:
        parser.read_string(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, configparser.Error):
        return ""
    return parser.get("defaults", "roles_path", fallback="").strip()


def check_variables(variables: Mapping[str, Any]) -> None:
    """Check variables against the argument specification of the role.

    Required variables must be given, and paths must exist. A value with a
    template is left to ansible, and so are variables of the user's own.

    :raises InvalidVariable: for the first variable that cannot be used.
    """
    tasks = str(variables.get("tasks_from") or "")
    choices = _specification()
    if tasks not in choices:
        names = sorted(n for n in choices if n.endswith(".yml"))
        raise InvalidVariable(
            "tasks_from", f"{tasks!r} is not one of {', '.join(names)}"
        )
    options = choices[tasks]
    for name in [name for name in variables if name not in options]:
        if near := difflib.get_close_matches(name, options, 1, _MISTYPED):
            raise InvalidVariable(
                name,
                f"tasks_from {tasks} has no such variable",
                hint=f"did you mean {near[0]}?",
            )
    for name, option in options.items():
        if name in _OURS:
            continue
        value = variables.get(name)
        if value in (None, "", []):
            if option.get("required"):
                raise InvalidVariable(
                    name, f"tasks_from {tasks} requires this variable"
                )
        elif "path" in (option.get("type"), option.get("elements")):
            for path in _paths(name, value):
                _check_path(name, path)


def _specification() -> Mapping[str, Mapping[str, Mapping[str, Any]]]:
    path = SHIPPED / ROLE / "meta" / "argument_specs.yml"
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {
        tasks: specification.get("options", {})
        for tasks, specification in document["argument_specs"].items()
        if tasks != "main"
    }


def _paths(name: str, value: object) -> Iterator[str]:
    for path in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(path, str):
            raise InvalidVariable(name, f"{path!r} is not a path")
        if "{{" not in path and "{%" not in path:
            yield path


def _check_path(name: str, text: str) -> None:
    """Check a directory; the role mounts it in a container."""
    path = Path(text)
    if not path.is_absolute():
        raise InvalidVariable(
            name,
            f"{text}: not an absolute path",
            hint="ansible works in a directory of its own",
        )
    if not path.is_dir():
        raise InvalidVariable(
            name,
            f"{text}: no such directory",
            # The role fills it.
            hint="create the directory first" if name == "yum_cache" else None,
        )
    if not os.access(path, os.R_OK | os.X_OK):
        raise InvalidVariable(name, f"{text}: permission denied")
    if name in _MOUNTED and ":" in text:
        raise InvalidVariable(
            name, f"{text}: a path with a colon cannot be mounted"
        )
    needed = _CONTENT.get(name)
    if needed and not any(path.glob(needed)):
        raise InvalidVariable(name, f"{text}: no {needed} in this directory")
