"""The host of a plan for the conformance suite, and plans on it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import yaml

from imageprep_client import errors
from imageprep_client.plans import base
from imageprep_client.plans.files import PlanFile, PlanFiles
from imageprep_client.plans.stored import Plan, list_environment

#: A plan with everything in it.
FILES: Mapping[str, str] = {
    base.PLAN_ENVIRONMENT: """\
version: 1.0
name: overcloud
template: overcloud.yaml
environments:
- path: overcloud-resource-registry-puppet.yaml
- data:
    parameter_defaults: {Inline: 1}
- path: environments/site.yaml
- path: user-environment.yaml
passwords: {Secret: word}
derived_parameters: {Derived: 2}
parameter_defaults: {Own: ü}
resource_registry: {"OS::TripleO::Services::X": none.yaml}
""",
    "overcloud-resource-registry-puppet.yaml": "resource_registry: {a: b}\n",
    "environments/site.yaml": "parameter_defaults: {Site: 3}\n",
    "environments/unused.yaml": "parameter_defaults: {Unused: 4}\n",
    "user-environment.yaml": "parameter_defaults: {User: 5}\n",
    base.ROLES: "- name: Compute\n",
}


class PlanHost(Protocol):
    """Where the plan of a test is kept."""

    def keep(self, files: Mapping[str, str]) -> None:
        """Let the plan have these files, path -> text; once per test."""
        ...

    def open(self) -> PlanFiles:
        """These files, as another process would open them."""
        ...

    def read(self, path: str) -> str | None:
        """A file as it is now; None when there is none.

        Without the `PlanFiles`, if that can be.
        """
        ...


def make(
    host: PlanHost, files: Mapping[str, str], kept: int = base.KEPT
) -> Plan:
    """A plan with these files."""
    host.keep(files)
    return Plan(host.open(), kept)


def minimal(**sections: Any) -> dict[str, str]:
    """A plan with nothing but these sections of its environment."""
    text = yaml.safe_dump({"name": "overcloud", **sections})
    return {base.PLAN_ENVIRONMENT: text}


def listed(host: PlanHost) -> list[str]:
    """The files that the plan lists now."""
    data = yaml.safe_load(host.read(base.PLAN_ENVIRONMENT) or "")
    entries = data.get("environments") or []
    return [entry["path"] for entry in entries if "path" in entry]


def add_environment(files: PlanFiles, path: str) -> bool:
    """List one more environment, as a writer who takes the lock."""
    with files.locked(exclusive=True):
        return list_environment(files, path)


def replace(files: PlanFiles, path: str, text: str) -> None:
    """Write a file as somebody does who asks nobody."""
    files.write(path, text.encode(), replaces=files.read(path))


class Watched:
    """Files with somebody who does something before a step.

    :param before: called with ``read``, ``write`` or ``delete`` and the
        path; what it raises takes the place of the step.
    """

    def __init__(
        self, files: PlanFiles, before: Callable[[str, str], None]
    ) -> None:
        self._files = files
        self._before = before

    @property
    def name(self) -> str:
        return self._files.name

    def read(self, path: str) -> PlanFile | None:
        self._before("read", path)
        return self._files.read(path)

    def read_many(self, paths: Iterable[str]) -> Mapping[str, PlanFile | None]:
        paths = list(paths)
        for path in paths:
            self._before("read", path)
        return self._files.read_many(paths)

    def write(
        self, path: str, content: bytes, *, replaces: PlanFile | None
    ) -> None:
        self._before("write", path)
        self._files.write(path, content, replaces=replaces)

    def delete(self, path: str) -> None:
        self._before("delete", path)
        self._files.delete(path)

    def names(self, folder: str) -> Sequence[str]:
        return self._files.names(folder)

    def check_writable(self, paths: Iterable[str]) -> None:
        self._files.check_writable(paths)

    def locked(
        self, *, exclusive: bool
    ) -> contextlib.AbstractContextManager[None]:
        return self._files.locked(exclusive=exclusive)

    def forget_cached(self) -> Sequence[errors.PlanError]:
        return self._files.forget_cached()
