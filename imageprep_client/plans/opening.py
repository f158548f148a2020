"""Opening and finding plans, in directories and in the cloud."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.plans import base
from imageprep_client.plans.directory import DirectoryFiles
from imageprep_client.plans.files import PlanFiles
from imageprep_client.plans.revision import State
from imageprep_client.plans.stored import Plan

#: Makes the connection to the cloud, an ``openstack.connection.Connection``,
#: when it is first needed.
Connect = Callable[[], Any]


@dataclasses.dataclass(frozen=True, slots=True)
class PlanSummary:
    """A plan in a list.

    :ivar name: the directory, or the name in the cloud, that opens it.
    :ivar kind: ``directory`` or ``swift``.
    :ivar time: the creation time of its parameters, or empty.
    """

    name: str
    kind: str
    time: str


def open_plan(
    name: str | None = None,
    *,
    directory: str | None = None,
    connect: Connect | None = None,
    kept: int = base.KEPT,
) -> Plan:
    """Open a plan, which need not exist.

    :param name: a plan in the cloud.
    :param directory: the directory of a plan.
    :param kept: the number of earlier parameters to keep at a write.
    :param connect: called for a plan in the cloud only; its errors are
        passed on.
    :raises InvalidArgument: unless exactly one of `name` and `directory` is
        given, or when no container can have the name.
    :raises CloudError: when the cloud has no object store.
    """
    if directory and not name:
        return Plan(DirectoryFiles(directory), kept)
    if directory or not name:
        raise errors.InvalidArgument(
            "which plan is not said"
            if not name
            else f"plan {name}: it is given by name and by directory",
            hint="name a plan, or give a directory with --plan-dir",
        )
    if connect is None:
        raise errors.InvalidArgument(
            f"plan {name}: plans in the cloud cannot be used",
            hint="give a directory with --plan-dir",
        )
    # Only here: the SDK is large.
    from imageprep_client.cloud import object_store
    from imageprep_client.plans.swift import files

    store = object_store.ObjectStore.of(connect())
    return Plan(files.SwiftFiles(store, name), kept)


def find_plans(
    directories: Sequence[str], *, connect: Connect | None = None
) -> list[PlanSummary]:
    """The plans in these directories, or those in the cloud, sorted.

    :param directories: plans, or directories with plans directly in them.
    :raises InvalidArgument: for one that is no directory.
    :raises PlanError: when the parameters of a plan cannot be read.
    """
    if not directories:
        return _in_cloud(connect)
    paths = [
        path for directory in directories for path in _plans_in(directory)
    ]
    return [
        PlanSummary(path, "directory", _time(DirectoryFiles(path)))
        for path in sorted(dict.fromkeys(paths))
    ]


def _in_cloud(connect: Connect | None) -> list[PlanSummary]:
    if connect is None:
        raise errors.InvalidArgument(
            "plans in the cloud cannot be listed",
            hint="give a directory with --plan-dir",
        )
    from imageprep_client.cloud import object_store
    from imageprep_client.plans.swift import at_once, files

    plans = files.plans(object_store.ObjectStore.of(connect()))
    return [
        PlanSummary(plan.name, "swift", time)
        for plan, time in zip(plans, at_once.each(_time, plans), strict=True)
    ]


def _plans_in(directory: str) -> Iterator[str]:
    """The directory itself, or else the plans directly in it."""
    if _is_plan(directory):
        yield directory
        return
    try:
        names = os.listdir(directory)
    except OSError as error:
        raise errors.InvalidArgument(
            f"{directory}: {errors.reason(error)}",
            hint="name a plan, or a directory that has plans in it",
        ) from error
    for name in names:
        path = os.path.join(directory, name)
        if _is_plan(path):
            yield path


def _is_plan(path: str) -> bool:
    return os.path.isfile(os.path.join(path, base.PLAN_ENVIRONMENT))


def _time(files: PlanFiles) -> str:
    present = files.read(base.PARAMETERS)
    return State(present.content).time if present else ""
