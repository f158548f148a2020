"""The files that a preparation writes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from imageprep_client import errors
from imageprep_client.container.request import PrepareRequest, PrepareResult
from imageprep_client.heat import environment, parameters
from imageprep_client.host import files
from imageprep_client.observer import Observer
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.stored import Plan

_DEFAULTS = "parameter_defaults"


def check(request: PrepareRequest, plan: Plan | None) -> None:
    """Check that the files can be written, before hours of copying.

    :raises InvalidFile: for one that cannot.
    :raises PlanError: when the plan is none.
    :raises PlanError, NoSpace: when the plan cannot be written.
    :raises InvalidArgument: when two of them are one file.
    """
    paths = _paths(request)
    for path in paths:
        files.check(path)
    files.check_different(paths)
    if plan is not None and not (request.dry_run or request.carry):
        plan.check_writable()


def spare(
    request: PrepareRequest,
    environments: Iterable[environment.EnvironmentFile],
) -> None:
    """Check that no result replaces a file of the user.

    Results of an earlier run are often among the environments, and may be
    written again.

    :raises InvalidArgument: when one is to be written.
    """
    layers = list(environments)
    inputs = [*request.roles_files, *request.since]
    if request.template_file:
        inputs.append(request.template_file)
    read = [*inputs, *(layer.path for layer in layers)]
    written = [layer.path for layer in layers if not _is_result(layer)]
    for path in _paths(request):
        older = path == request.output_env_file
        files.check_apart(path, [*inputs, *written] if older else read)


def _paths(request: PrepareRequest) -> list[str]:
    """The files to write, but for the plan's."""
    paths = (
        request.output_env_file,
        request.output_images_file,
        request.ceph_vars_file,
        request.carry,
    )
    return [path for path in paths if path]


def _is_result(layer: environment.EnvironmentFile) -> bool:
    """Whether an environment has only what a run writes."""
    sections = [name for name, data in layer.sections.items() if data]
    if sections != [_DEFAULTS]:
        return False
    values = layer.sections[_DEFAULTS]
    return isinstance(values, Mapping) and all(
        name == parameters.INSECURE_REGISTRIES or _is_image(value)
        for name, value in parameters.flat(values).items()
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
    plan: Plan | None,
    result: PrepareResult,
    plan_values: Mapping[str, Any],
    ceph_vars: str,
    header: Sequence[str],
    observer: Observer,
) -> PrepareResult:
    """Write the results of a preparation without failures.

    :param plan_values: the parameters to write into the plan.
    :returns: the result with the error if some cannot be written; one does
        not keep the others from being written.
    """
    problems: list[errors.ImagePrepError] = []
    plan_changed = False
    if request.ceph_vars_file:
        _write(request.ceph_vars_file, ceph_vars, problems, mode=0o600)
    if plan is not None and not (request.dry_run or request.carry):
        try:
            written = plan.write_parameters(plan_values, header)
        except (errors.PlanError, errors.NoSpace) as error:
            problems.append(error)
        else:
            plan_changed = written.changed
            if not plan_changed:
                observer.note(
                    f"plan {plan.name}: has these parameters already;"
                    " nothing is written into it"
                )
    if request.output_images_file:
        text = parameters.render_images(_images(result), header)
        _write(request.output_images_file, text, problems)
    if request.output_env_file:
        text = parameters.render(result.parameters, header)
        _write(request.output_env_file, text, problems)
    failure: errors.ImagePrepError | None = problems[0] if problems else None
    if failure and not request.dry_run:
        failure = errors.PartialFailure(
            "all images are in place, but results could not be written",
            problems,
        )
    return dataclasses.replace(
        result, error=failure, plan_changed=plan_changed
    )


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
