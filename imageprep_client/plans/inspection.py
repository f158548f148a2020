"""The images that a plan deploys."""

from __future__ import annotations

from collections.abc import Iterable

from imageprep_client.errors import printable
from imageprep_client.heat import environment, parameters
from imageprep_client.plans import base
from imageprep_client.plans.revision import is_image
from imageprep_client.plans.stored import Plan


def images(plan: Plan) -> dict[str, str]:
    """The image of each image parameter, sorted by parameter.

    Those of one role are named ``<Role>Parameters.<parameter>``.

    All environments of the plan are merged as for a deployment: one after
    the prepared parameters may override them.

    :raises PlanError: when it is not a plan, or cannot be read.
    :raises InvalidFile: when one of its environments is invalid.
    """
    return _images(
        environment.from_data(data, name)
        for name, data in plan.read().environments
    )


def difference(plan: Plan, path: str) -> list[base.ParameterChange]:
    """The changes that an environment file would make to the plan.

    A parameter that the file does not set keeps its value, so it is no
    difference.

    :param path: the file.
    :returns: sorted by parameter; `old` is the plan's image, empty when there
        is none, and `new` that of the file.
    :raises InvalidFile: when the file cannot be read, or is no environment;
        and as `images`.
    """
    given = _images([environment.load(path)])
    present = images(plan)
    return [
        base.ParameterChange(name, present.get(name, ""), image)
        for name, image in given.items()
        if present.get(name, "") != image
    ]


def _images(layers: Iterable[environment.EnvironmentFile]) -> dict[str, str]:
    merged = parameters.flat(environment.merge(layers).parameter_defaults)
    return {
        name: printable(image)
        for name, image in sorted(merged.items())
        if is_image(name, image)
    }
