"""The files that a preparation writes."""

from __future__ import annotations

import os
from collections.abc import Iterable

from imageprep_client import errors, files
from imageprep_client.catalog import Catalog
from imageprep_client.container import report
from imageprep_client.container.request import PrepareRequest, PrepareResult
from imageprep_client.heat import parameters
from imageprep_client.observer import Observer
from imageprep_client.plans.base import Plan


def check(request: PrepareRequest, plan: Plan | None) -> None:
    """See that the files can be written, before hours of copying.

    :raises InvalidFile: for one that cannot.
    :raises PlanError: when the plan is none.
    :raises InvalidArgument: when two of them are one file.
    """
    taken: set[str] = set()
    for path in _paths(request):
        files.check(path)
        target = os.path.realpath(path)
        if target in taken:
            raise errors.InvalidArgument(
                f"{path}: two results cannot be one file",
                hint="name different files",
            )
        taken.add(target)
    if plan is not None and not request.dry_run:
        plan.check_writable()


def spare(request: PrepareRequest, inputs: Iterable[str]) -> None:
    """See that no result replaces what the user wrote.

    :param inputs: files that were read.
    :raises InvalidArgument: when one is to be written.
    """
    read = set(map(os.path.realpath, inputs))
    for path in _paths(request):
        if os.path.realpath(path) in read:
            raise errors.InvalidArgument(
                f"{path}: it was read for this run, and would be replaced",
                hint="name another file for the result",
            )


def _paths(request: PrepareRequest) -> list[str]:
    """The files to write, but for the plan's."""
    paths = (
        request.output_env_file,
        request.ceph_vars_file,
        request.report_file,
    )
    return [path for path in paths if path]


def write(
    request: PrepareRequest,
    catalog: Catalog,
    plan: Plan | None,
    result: PrepareResult,
    ceph_vars: str,
    observer: Observer,
) -> None:
    """Write the report; the parameters only when they hold."""
    if request.report_file:
        files.write(
            request.report_file,
            report.render(result, dry_run=request.dry_run),
        )
    if result.failures and not request.dry_run:
        return
    if request.ceph_vars_file:
        files.write(request.ceph_vars_file, ceph_vars, mode=0o600)
    if plan is not None and not request.dry_run:
        defaults = catalog.default_parameters()
        written = plan.write_parameters(
            {**defaults, **result.parameters}, request.header
        )
        if not written.changed:
            observer.note(
                f"plan {plan.name}: has these parameters already; nothing is"
                " written into it"
            )
    if request.output_env_file:
        files.write(
            request.output_env_file,
            parameters.render(result.parameters, request.header),
        )
