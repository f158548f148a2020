"""The files that a preparation writes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from imageprep_client import errors
from imageprep_client.catalog import Catalog
from imageprep_client.container.request import PrepareRequest, PrepareResult
from imageprep_client.container.results import html, report
from imageprep_client.heat import environment, parameters
from imageprep_client.host import files
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.base import Plan

_DEFAULTS = "parameter_defaults"


def check(request: PrepareRequest, plan: Plan | None) -> None:
    """Check that the files can be written, before hours of copying.

    :raises InvalidFile: for one that cannot.
    :raises PlanError: when the plan is none.
    :raises PlanError, NoSpace: when the plan cannot be written.
    :raises InvalidArgument: when two of them are one file, or what is
        written all the time is read.
    """
    taken: set[str] = set()
    for path in _paths(request):
        files.check(path)
        _take(path, taken)
    if request.log_file:
        _take(request.log_file, taken)
        inputs = (*request.environment_files, *request.roles_files)
        _apart(
            request.log_file,
            [*inputs, request.template_file, *request.spared],
        )
    if plan is not None and not request.dry_run:
        plan.check_writable()


def spare(
    request: PrepareRequest,
    environments: Iterable[environment.EnvironmentFile],
    inputs: Iterable[str],
) -> None:
    """Check that no result replaces a file of the user.

    Results of an earlier run are often among the environments, and may be
    written again.

    :param inputs: other files that were read.
    :raises InvalidArgument: when one is to be written.
    """
    layers = list(environments)
    inputs = [*inputs, *request.spared]
    read = [*inputs, *(layer.path for layer in layers)]
    written = [layer.path for layer in layers if not _is_result(layer)]
    for path in _paths(request):
        older = path == request.output_env_file
        _apart(path, [*inputs, *written] if older else read)


def _paths(request: PrepareRequest) -> list[str]:
    """The files to write, but for the plan's."""
    paths = (
        request.output_env_file,
        request.output_images_file,
        request.ceph_vars_file,
        request.report_file,
        request.report_html_file,
    )
    return [path for path in paths if path]


def _take(path: str, taken: set[str]) -> None:
    """Claim a path for one result."""
    target = os.path.realpath(path)
    if target in taken:
        raise errors.InvalidArgument(
            f"{path}: two results cannot be one file",
            hint="name different files",
        )
    taken.add(target)


def _apart(path: str, others: Iterable[str]) -> None:
    """Check that a result is none of these files, nor in these directories."""
    target = os.path.realpath(path)
    for other in filter(None, others):
        real = os.path.realpath(other)
        if target == real:
            raise errors.InvalidArgument(
                f"{path}: it was read for this run, and would be replaced",
                hint="name another file for the result",
            )
        if os.path.isdir(real) and target.startswith(f"{real}{os.sep}"):
            raise errors.InvalidArgument(
                f"{path}: it is in {other}, which is no place for results",
                hint="name a file outside of it",
            )


def _is_result(layer: environment.EnvironmentFile) -> bool:
    """Whether an environment has only what a run writes."""
    sections = [name for name, data in layer.sections.items() if data]
    if sections != [_DEFAULTS]:
        return False
    values = layer.sections[_DEFAULTS]
    return isinstance(values, Mapping) and all(
        name == parameters.INSECURE_REGISTRIES or _is_image(value)
        for name, value in values.items()
    )


def _is_image(value: object) -> bool:
    if not isinstance(value, str) or "/" not in value:
        return False
    try:
        Reference.parse(value)
    except errors.InvalidReference:
        return False
    return True


def write(
    request: PrepareRequest,
    catalog: Catalog,
    plan: Plan | None,
    result: PrepareResult,
    ceph_vars: str,
    observer: Observer,
) -> None:
    """Write the report, and all else if no image failed.

    :raises PartialFailure: when a file cannot be written although all images
        are in place.
    """
    problems: list[errors.ImagePrepError] = []
    if request.report_file:
        text = report.render(result, dry_run=request.dry_run)
        _write(request.report_file, text, problems)
    if request.report_html_file:
        text = html.render(
            result, header=request.header, dry_run=request.dry_run
        )
        _write(request.report_html_file, text, problems)
    if not result.failures:
        _write_results(
            request, catalog, plan, result, ceph_vars, observer, problems
        )
    if not problems:
        return
    if request.dry_run:
        raise problems[0]
    failures = result.failures
    count = f"{len(failures)} of {len(result.rows)} images failed"
    raise errors.PartialFailure(
        f"{count if failures else 'all images are in place'}, but results"
        " could not be written",
        [*failures, *problems],
    )


def _write_results(
    request: PrepareRequest,
    catalog: Catalog,
    plan: Plan | None,
    result: PrepareResult,
    ceph_vars: str,
    observer: Observer,
    problems: list[errors.ImagePrepError],
) -> None:
    """Write all but the report.

    :param problems: gets the errors; one does not keep the other files from
        being written.
    """
    if request.ceph_vars_file:
        _write(request.ceph_vars_file, ceph_vars, problems, mode=0o600)
    if plan is not None and not request.dry_run:
        values = {**catalog.default_parameters(), **result.parameters}
        try:
            written = plan.write_parameters(values, request.header)
        except (errors.PlanError, errors.NoSpace) as error:
            problems.append(error)
        else:
            if not written.changed:
                observer.note(
                    f"plan {plan.name}: has these parameters already;"
                    " nothing is written into it"
                )
    if request.output_images_file:
        text = parameters.render_images(_images(result), request.header)
        _write(request.output_images_file, text, problems)
    if request.output_env_file:
        text = parameters.render(result.parameters, request.header)
        _write(request.output_env_file, text, problems)


def _write(
    path: str,
    text: str,
    problems: list[errors.ImagePrepError],
    mode: int | None = None,
) -> None:
    try:
        files.write(path, text, mode=mode)
    except (errors.InvalidFile, errors.NoSpace) as error:
        problems.append(error)


def _images(result: PrepareResult) -> list[dict[str, str]]:
    """The images that were prepared, each once, and where they went."""
    images = {}
    for row in result.rows:
        image = {"imagename": row.image}
        if row.destination:
            place, _ = references.split(row.destination)
            image["push_destination"] = place
        images[row.image, row.destination] = image
    return list(images.values())
