"""A deployment by its environments, roles and image table."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Callable, Iterator, Mapping, Sequence

from imageprep_client import catalog as catalogs
from imageprep_client import errors
from imageprep_client.container import notices, worklist
from imageprep_client.container.discovery import queries
from imageprep_client.container.request import PrepareRequest
from imageprep_client.container.results import outputs
from imageprep_client.container.worklist import Selection
from imageprep_client.heat import environment, parameters, roles, services
from imageprep_client.heat.environment import Environment
from imageprep_client.observer import Observer
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.stored import Plan
from imageprep_client.stores import base


@dataclasses.dataclass(frozen=True, slots=True)
class Inputs:
    """The input of a preparation, read before any network is used.

    :ivar environment: all environments, merged.
    :ivar roles: empty: there is no filtering by service.
    :ivar selections: the images of the roles that have nodes; after those
        for all roles, those of roles with entries of their own.
    """

    environment: Environment
    roles: Sequence[roles.Role]
    parameters: parameters.PrepareParameters
    catalog: catalogs.Catalog
    selections: Sequence[Selection]
    warnings: Sequence[str]


def read(request: PrepareRequest, plan: Plan | None) -> Inputs:
    """Read plan, environments, roles and table; check all of it."""
    layers: list[environment.EnvironmentFile] = []
    stored_roles = None
    if plan is not None:
        content = plan.read()
        layers.extend(
            environment.from_data(data, name)
            for name, data in content.environments
        )
        stored_roles = content.roles
    paths = environment.collect(
        request.environment_files, request.environment_directories
    )
    own = [environment.load(path) for path in paths]
    layers.extend(own)
    merged = environment.merge(layers)
    deployment_roles: Sequence[roles.Role] = ()
    if request.roles_files:
        deployment_roles = roles.load(request.roles_files)
    elif stored_roles is not None:
        deployment_roles = roles.parse(stored_roles, "roles_data.yaml")
    wanted = parameters.parse(merged)
    release = request.release or environment.release_of(own)
    catalog = catalogs.load(release or catalogs.DEFAULT_RELEASE)
    if request.template_file:
        catalog = catalog.with_template(request.template_file)
    notices.check_variables(wanted, catalog)
    outputs.spare(request, own)
    enabled = services.enabled(merged, deployment_roles)
    selections = [*worklist.select(wanted, catalog, enabled)]
    for role in deployment_roles:
        if role.name in wanted.role_entries:
            enabled = services.enabled(merged, [role])
            selections += worklist.select(wanted, catalog, enabled, role.name)
    warnings = notices.notices(
        wanted,
        catalog,
        selections,
        release_named=release is not None,
        names=merged.parameter_defaults,
        misplaced=merged.parameters,
        roles=[role.name for role in deployment_roles],
    )
    return Inputs(
        merged,
        deployment_roles,
        wanted,
        catalog,
        tuple(selections),
        tuple(warnings),
    )


def images_of_roles(
    inputs: Inputs,
    wanted: Sequence[str],
    *,
    source: Callable[[Reference], base.ReadableStore],
    undercloud_registry: Callable[[], str],
    observer: Observer,
    concurrency: int,
) -> tuple[dict[str, tuple[Reference, ...]], tuple[Reference, ...]]:
    """The images that nodes of these roles need, and those of all roles.

    An image is named by the parameters of the environments, as a run writes
    them, first by those of the role; where they have no value, by the entries
    of ContainerImagePrepare.

    :param source: opens the repository that a tag is discovered in.
    :raises InvalidArgument: for an unknown role.
    :raises CombinedFailure: when tags could not be discovered.
    """
    by_name = {role.name: role for role in inputs.roles}
    for name in wanted:
        if name not in by_name:
            raise errors.InvalidArgument(
                f"there is no role {name}",
                hint=f"roles: {', '.join(sorted(by_name))}"
                if by_name
                else "name the roles by --roles-file",
            )
    selections = {
        name: worklist.select(
            inputs.parameters,
            inputs.catalog,
            services.of_role(inputs.environment, by_name[name]),
            name if name in inputs.parameters.role_entries else None,
        )
        for name in wanted
    }
    names = _Names(inputs)
    every = [
        *inputs.selections,
        *(s for own in selections.values() for s in own),
    ]
    discovery = queries.discover(
        [
            q
            for q in worklist.to_discover(every)
            if names.is_asked(q.key[0], every)
        ],
        source,
        observer=observer,
        concurrency=concurrency,
    )

    def images(
        own: Sequence[Selection], role: str = ""
    ) -> tuple[Reference, ...]:
        work = worklist.build(
            own,
            pins=discovery.pins,
            parameters=inputs.parameters,
            undercloud_registry=undercloud_registry,
            now=datetime.datetime.now(),
        )
        if work.undiscovered:
            raise queries.together(work.undiscovered)
        return tuple(map(Reference.parse, dict.fromkeys(names.of(work, role))))

    return {
        name: images(own, name) for name, own in selections.items()
    }, images(inputs.selections)


class _Names:
    """The names of images that the environments give."""

    def __init__(self, inputs: Inputs) -> None:
        defaults = inputs.environment.parameter_defaults
        self._given: Mapping[str, str] = {
            name: value
            for name, value in parameters.flat(defaults).items()
            if isinstance(value, str) and value
        }

    def is_asked(self, image: str, selections: Sequence[Selection]) -> bool:
        """Whether the tag of an image is needed."""
        named = [
            name
            for selection in selections
            for one in selection.images
            if one.image == image
            for name in one.parameters
        ]
        return not named or any(name not in self._given for name in named)

    def of(self, work: worklist.Worklist, role: str) -> Iterator[str]:
        """The names of the images of a worklist, as a role names them."""
        for item in work.images:
            if not item.parameters:
                yield item.target
        for parameter, target in work.parameters.items():
            own = parameters.of_role(role, parameter)
            yield self._given.get(own) or self._given.get(parameter, target)
