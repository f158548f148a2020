"""What the files of a plan say, wherever they are kept."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator
from typing import Any

import yaml

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.plans import base

#: Gives the content of a file of the plan, None when there is none; never
#: more than `document.MAX_SIZE` bytes and one. May raise `PlanError`.
Read = Callable[[str], bytes | None]

_PARAMETERS = ("passwords", "derived_parameters", "parameter_defaults")


def read(name: str, read_file: Read) -> base.PlanContent:
    """What the plan says.

    :param name: what errors call the plan.
    :raises PlanError: see `base.Plan.read`.
    """
    plan = _plan_environment(name, read_file)
    found = list(_listed(name, plan, read_file))
    main = f"{name}/{base.PLAN_ENVIRONMENT}"
    for section in _PARAMETERS:
        data = _section(name, plan, section)
        if data:
            # The errors of an environment name its own sections.
            own = section == "parameter_defaults"
            label = main if own else f"{main} ({section})"
            found.append((label, {"parameter_defaults": data}))
    registry = _section(name, plan, "resource_registry")
    if registry:
        found.append((main, {"resource_registry": registry}))
    roles = _load(name, base.ROLES, read_file(base.ROLES))
    return base.PlanContent(found, roles)


def listing_parameters(name: str, read_file: Read) -> str | None:
    """The plan environment with `base.PARAMETERS` in its list.

    :returns: its text; None when the file is listed already.
    :raises PlanError: when this is no plan.
    """
    plan = _plan_environment(name, read_file)
    listed = _entries(name, plan)
    if any(
        isinstance(entry, dict)
        and isinstance(entry.get("path"), str)
        and posixpath.normpath(entry["path"]) == base.PARAMETERS
        for entry in listed
    ):
        return None
    plan["environments"] = [*listed, {"path": base.PARAMETERS}]
    return yaml.safe_dump(
        plan, sort_keys=False, allow_unicode=True, default_flow_style=False
    )


def error(
    name: str, path: str, problem: str, hint: str | None = None
) -> errors.PlanError:
    """What to raise for a file of the plan."""
    return errors.PlanError(f"plan {name}: {path}: {problem}", hint=hint)


def _plan_environment(name: str, read_file: Read) -> dict[str, Any]:
    content = read_file(base.PLAN_ENVIRONMENT)
    if content is None:
        raise errors.PlanError(
            f"plan {name}: is no deployment plan: there is no"
            f" {base.PLAN_ENVIRONMENT}",
            hint="name what holds the whole plan",
        )
    plan = _load(name, base.PLAN_ENVIRONMENT, content)
    if not isinstance(plan, dict):
        raise error(name, base.PLAN_ENVIRONMENT, "expected a mapping")
    return plan


def _load(name: str, path: str, content: bytes | None) -> Any:
    if content is None:
        return None
    try:
        return document.parse(content, path)
    except errors.InvalidFile as invalid:
        raise errors.PlanError(
            f"plan {name}: {invalid}", hint=invalid.hint
        ) from invalid


def _section(name: str, plan: dict[str, Any], section: str) -> dict[str, Any]:
    data = plan.get(section)
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise error(
            name, f"{base.PLAN_ENVIRONMENT}: {section}", "expected a mapping"
        )
    return data


def _entries(name: str, plan: dict[str, Any]) -> list[Any]:
    listed = plan.get("environments")
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise error(
            name, f"{base.PLAN_ENVIRONMENT}: environments", "expected a list"
        )
    return listed


def _listed(
    name: str, plan: dict[str, Any], read_file: Read
) -> Iterator[tuple[str, Any]]:
    """The environments that the plan lists, in its order."""
    for number, entry in enumerate(_entries(name, plan)):
        where = f"{base.PLAN_ENVIRONMENT}: environments[{number}]"
        if not isinstance(entry, dict) or len(entry) != 1:
            raise error(name, where, "expected one of path and data")
        ((kind, value),) = entry.items()
        if kind == "data":
            yield f"{name}/{where}.data", value
        elif kind == "path":
            path = _checked(name, f"{where}.path", value)
            content = read_file(path)
            if content is not None:
                yield f"{name}/{path}", _load(name, path, content)
            elif path != base.PARAMETERS:
                raise error(
                    name,
                    f"{where}.path",
                    f"no such file in the plan: {path}",
                    "add the file, or take it off the list",
                )
        else:
            raise error(name, where, "expected one of path and data")


def _checked(name: str, where: str, path: object) -> str:
    """The path, normal, of a file inside of the plan."""
    if not isinstance(path, str) or not path or "\0" in path:
        raise error(name, where, "expected the path of a file")
    normal = posixpath.normpath(path)
    if posixpath.isabs(normal) or normal.split("/")[0] == "..":
        raise error(
            name,
            where,
            f"{path} is not inside of the plan",
            "copy the file into the plan and name it relative to that",
        )
    return normal
