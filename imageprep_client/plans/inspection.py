"""Which images a plan deploys."""

from __future__ import annotations

from collections.abc import Iterable

from imageprep_client.errors import printable
from imageprep_client.heat import environment
from imageprep_client.plans import base
from imageprep_client.plans.revision import is_image


def images(plan: base.Plan) -> dict[str, str]:
    """The image of each parameter for one, sorted by parameter.

    All that the plan lists counts, merged as for a deployment: an
    environment after the prepared parameters may set others.

    :raises PlanError: when it is no plan, or cannot be read.
    :raises InvalidFile: when one of its environments is none.
    """
    return _images(
        environment.layer(data, name)
        for name, data in plan.read().environments
    )


def difference(plan: base.Plan, path: str) -> list[base.Change]:
    """What an environment file has otherwise than the plan.

    :param path: the file.
    :returns: sorted by parameter; `old` is the plan's image and `new` that
        of the file, empty where one has none.
    :raises InvalidFile: when the file cannot be read, or is no environment;
        and as `images`.
    """
    given = _images([environment.load(path)])
    present = images(plan)
    return [
        base.Change(name, present.get(name, ""), given.get(name, ""))
        for name in sorted(present.keys() | given.keys())
        if present.get(name, "") != given.get(name, "")
    ]


def _images(layers: Iterable[environment.Layer]) -> dict[str, str]:
    merged = environment.merge(layers).parameter_defaults
    return {
        name: printable(image)
        for name, image in sorted(merged.items())
        if is_image(name, image)
    }
