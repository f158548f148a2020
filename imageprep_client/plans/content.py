"""The content of a plan's files; no I/O."""

from __future__ import annotations

import copy
import posixpath
from collections.abc import Iterator, Mapping
from typing import Any

from imageprep_client import errors
from imageprep_client.heat import document
from imageprep_client.plans import base
from imageprep_client.plans.files import PlanFile

#: Files that a plan may list; real plans have some dozens.
MAX_ENVIRONMENTS = 1000
_PARAMETERS = ("passwords", "derived_parameters", "parameter_defaults")


class PlanEnvironment:
    """A parsed ``plan-environment.yaml``.

    :ivar paths: the normalised paths of the files that it lists, in order.
    """

    def __init__(self, name: str, stored: PlanFile | None) -> None:
        """Parse it.

        :param name: the name of the plan in errors.
        :param stored: the file; None when there is none.
        :raises PlanError: when it is not a plan environment.
        """
        if stored is None:
            raise errors.PlanError(
                f"plan {name}: is no deployment plan: there is no"
                f" {base.PLAN_ENVIRONMENT}",
                hint="name the container or the directory of the whole plan",
            )
        self._name = name
        self._together = document.DocumentBudget()
        data = self._load(base.PLAN_ENVIRONMENT, stored.content)
        if not isinstance(data, dict):
            raise self._error("expected a mapping")
        self._data = data
        self._entries = list(self._checked())
        self.paths = [path for _, path, _ in self._entries if path]

    def content(
        self, files: Mapping[str, PlanFile | None]
    ) -> base.PlanContent:
        """The content of the whole plan.

        :param files: those of `paths`, and `base.ROLES`.
        :raises PlanError: see `stored.Plan.read`.
        """
        absent = [
            f"{where}.path: no such file in the plan: {path}"
            for where, path, _ in self._entries
            if path and path != base.PARAMETERS and files[path] is None
        ]
        if absent:
            raise self._error(
                "; ".join(absent), hint="add the file, or take it off the list"
            )
        environments = list(self._listed(files))
        main = f"{self._name}/{base.PLAN_ENVIRONMENT}"
        for section in _PARAMETERS:
            data = self._section(section)
            if data:
                # The errors of an environment name its own sections.
                own = section == "parameter_defaults"
                label = main if own else f"{main} ({section})"
                environments.append((label, {"parameter_defaults": data}))
        registry = self._section("resource_registry")
        if registry:
            environments.append((main, {"resource_registry": registry}))
        roles = files[base.ROLES]
        if roles is None:
            return base.PlanContent(environments)
        return base.PlanContent(
            environments, self._load(base.ROLES, roles.content)
        )

    def listing(self, path: str) -> bytes | None:
        """Append a file to the list of environments.

        :returns: the new text; None when the file is listed already.
        """
        if path in self.paths:
            return None
        data = copy.copy(self._data)
        data["environments"] = [
            *(data.get("environments") or []),
            {"path": path},
        ]
        return document.dump(data, sort_keys=False).encode()

    def _checked(self) -> Iterator[tuple[str, str, Any]]:
        """Yield the place of each entry, and its path or else its data."""
        listed = self._data.get("environments")
        if listed is None:
            return
        if not isinstance(listed, list):
            raise self._error("environments: expected a list")
        if len(listed) > MAX_ENVIRONMENTS:
            raise self._error(
                f"environments: {len(listed)} entries, at most"
                f" {MAX_ENVIRONMENTS} are read"
            )
        for number, entry in enumerate(listed):
            where = f"environments[{number}]"
            if not isinstance(entry, dict) or len(entry) != 1:
                raise self._error(f"{where}: expected one of path and data")
            ((kind, value),) = entry.items()
            if kind == "data":
                yield where, "", value
            elif kind == "path":
                yield where, self._inside(f"{where}.path", value), None
            else:
                raise self._error(f"{where}: expected one of path and data")

    def _inside(self, where: str, path: object) -> str:
        """Normalise the path of a file inside of the plan."""
        if not isinstance(path, str) or not path or "\0" in path:
            raise self._error(f"{where}: expected the path of a file")
        normal = posixpath.normpath(path)
        if posixpath.isabs(normal) or normal.split("/")[0] == "..":
            raise self._error(
                f"{where}: {path} is not inside of the plan",
                "copy the file into the plan and name it relative to that",
            )
        return normal

    def _listed(
        self, files: Mapping[str, PlanFile | None]
    ) -> Iterator[tuple[str, Any]]:
        """The environments that the plan lists, in its order."""
        main = f"{self._name}/{base.PLAN_ENVIRONMENT}"
        parsed: dict[str, Any] = {}
        for where, path, data in self._entries:
            if not path:
                yield f"{main}: {where}.data", data
                continue
            stored = files[path]
            if stored is not None:
                if path not in parsed:
                    parsed[path] = self._load(path, stored.content)
                yield f"{self._name}/{path}", parsed[path]

    def _section(self, section: str) -> dict[str, Any]:
        data = self._data.get(section)
        if data is None:
            return {}
        if not isinstance(data, dict):
            raise self._error(f"{section}: expected a mapping")
        return data

    def _error(
        self, problem: str, hint: str | None = None
    ) -> errors.PlanError:
        return errors.PlanError(
            f"plan {self._name}: {base.PLAN_ENVIRONMENT}: {problem}", hint=hint
        )

    def _load(self, path: str, content: bytes) -> Any:
        try:
            return document.parse(content, path, self._together)
        except errors.InvalidFile as invalid:
            # Without its cause, which may quote a password of the file.
            raise errors.PlanError(
                f"plan {self._name}: {invalid}", hint=invalid.hint
            ) from None
