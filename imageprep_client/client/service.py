"""The composition root of service containers on this node."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.service_registries import ServiceRegistries
from imageprep_client.client.state import state_directory
from imageprep_client.client.stores import Stores
from imageprep_client.heat import environment as environments
from imageprep_client.heat import parameters
from imageprep_client.heat.environment import Environment, EnvironmentFile
from imageprep_client.host.processes import MARK
from imageprep_client.observer import SILENT, Observer
from imageprep_client.plans.stored import Plan
from imageprep_client.programs.podman import Podman, PodmanInformation
from imageprep_client.service import declaration as declarations
from imageprep_client.service import listing
from imageprep_client.service.declaration import (
    AppliedDeclaration,
    NodeDeclaration,
)
from imageprep_client.service.definitions import adopting, rendering
from imageprep_client.service.definitions import paunch as paunches
from imageprep_client.service.definitions import quadlet as quadlets
from imageprep_client.service.journal import HistoryEntry, StateDirectory
from imageprep_client.service.listing import ServiceStatus
from imageprep_client.service.running import ServiceChange
from imageprep_client.service.swapping import (
    OnFailure,
    SwapOutcome,
    SwapPolicy,
)
from imageprep_client.service.units import ServiceHost
from imageprep_client.service.upgrading import Node, UpgradeOptions

__all__ = [
    "AdoptedServices",
    "HistoryEntry",
    "OnFailure",
    "ServiceChange",
    "ServiceInputs",
    "ServiceNode",
    "ServiceStatus",
    "SwapOutcome",
    "SwapPolicy",
    "UpgradeOptions",
]

#: Where the state of podman's usual storage is, for root.
_STORAGE = Path("/var/lib/containers/storage")
#: The oldest podman that has all that is used.
_OLDEST = (4, 3)
_USUAL = UpgradeOptions()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceInputs:
    """The declared services, as the user names them.

    :ivar declaration: a file; None: the one that was applied last.
    :ivar environment_files: heat environments, later ones win.
    :ivar plan: read before those; None for none.
    """

    declaration: str | None = None
    environment_files: Sequence[str] = ()
    plan: Plan | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class AdoptedServices:
    """A declaration that was derived from existing containers.

    :ivar declaration: YAML; it has the values of variables.
    """

    names: Sequence[str]
    declaration: str = dataclasses.field(repr=False)


class ServiceNode:
    """The services of this host; `service.upgrading.Node` does the work.

    :param options: how registries are reached.
    """

    def __init__(
        self,
        options: RegistryOptions | None = None,
        observer: Observer = SILENT,
    ) -> None:
        self._options = options or RegistryOptions()
        self._observer = observer
        podman = _usable_podman()
        self._state = StateDirectory(_state_directory(podman))
        self._podman = Podman({MARK: self._state.mark}, podman)
        self._host = ServiceHost(self._podman, self._state, observer)
        self._node: Node | None = None

    @property
    def changes(self) -> list[ServiceChange]:
        """Those of the last command; some may not have been made."""
        return self._node.changes if self._node else []

    def upgrade(
        self,
        inputs_: ServiceInputs,
        names: Sequence[str],
        policy: SwapPolicy,
        options: UpgradeOptions = _USUAL,
    ) -> list[ServiceChange]:
        """Bring services into their declared state; see `Node.upgrade`."""
        with self._applied(inputs_) as (node, applied):
            if options.dry_run:
                return node.upgrade(applied, names, policy, options)
            with self._changing(node, applied.declaration) as declared:
                applied = dataclasses.replace(applied, declaration=declared)
                changes = node.upgrade(applied, names, policy, options)
                self._keep(declared)
                return changes

    def start(
        self, inputs_: ServiceInputs, names: Sequence[str], policy: SwapPolicy
    ) -> list[ServiceChange]:
        """Start services; see `Node.start`."""
        with (
            self._applied(inputs_) as (node, applied),
            self._changing(node, applied.declaration) as declared,
        ):
            applied = dataclasses.replace(applied, declaration=declared)
            changes = node.start(applied, names, policy)
            self._keep(declared)
            return changes

    def rollback(
        self, names: Sequence[str], generation: int, policy: SwapPolicy
    ) -> list[ServiceChange]:
        """Put earlier containers back; see `Node.rollback`."""
        with (
            self._stores(self._options) as node,
            self._changing(node, self._kept()) as kept,
        ):
            return node.rollback(kept, names, generation, policy)

    def stop(
        self,
        declaration: str | None,
        names: Sequence[str],
        *,
        kill_survivors: bool = False,
    ) -> list[ServiceChange]:
        """Stop services; see `Node.stop`."""
        with (
            self._stores(self._options) as node,
            self._changing(node, self._declaration(declaration)) as declared,
        ):
            return node.stop(declared, names, kill_survivors=kill_survivors)

    def statuses(
        self, names: Sequence[str] = (), declaration: str | None = None
    ) -> list[ServiceStatus]:
        """How services run; see `service.listing.statuses`."""
        declared = self._kept(declaration).services
        return listing.statuses(self._host, declared, names)

    def package_version(self, name: str, package: str) -> str:
        """See `service.listing.package_version`."""
        return listing.package_version(self._podman, name, package)

    def adopt(
        self,
        names: Sequence[str],
        *,
        paunch: str | None = None,
        quadlet: str | None = None,
    ) -> AdoptedServices:
        """A declaration of containers, or of what a file has.

        :param paunch: a startup configuration of paunch or TripleO.
        :param quadlet: a file of Quadlet.
        :raises NotFound: when there is no such container.
        """
        if path := paunch or quadlet:
            definitions = (
                paunches.load(path)
                if paunch
                else {one.name: one for one in [quadlets.load(path)]}
            )
            lacking = [name for name in names if name not in definitions]
            if lacking:
                raise errors.NotFound(
                    f"{path}: has no container {lacking[0]}",
                    hint="it has: " + ", ".join(definitions),
                )
            services = [definitions[name] for name in names or definitions]
        else:
            services = [self._adopted(name) for name in names]
        return AdoptedServices(
            [one.name for one in services], declarations.render(services)
        )

    def _adopted(self, name: str) -> declarations.Service:
        container = self._podman.container(name)
        if container is None:
            raise errors.NotFound(
                f"{name}: no such container", hint="list them: podman ps --all"
            )
        image = self._podman.image(container.image_id)
        names = self._podman.shared_names(container)
        adopted = adopting.adopt(container, image, names)
        files = tuple(
            path
            for path in adopted.env_file
            if not self._state.has_environment(path)
        )
        if files == adopted.env_file:
            return adopted
        # Files that these commands have written are no declaration's.
        values = adopting.own_environment(container, image)
        return dataclasses.replace(adopted, env_file=files, environment=values)

    def render(
        self,
        inputs_: ServiceInputs,
        names: Sequence[str],
        *,
        as_quadlet: bool = False,
    ) -> str:
        """Commands or units for services; nothing is changed."""
        applied, _ = self._with_values(inputs_)
        texts = []
        for one in applied.declaration.select(names):
            files = (
                [str(self._state.environment_file(one.name))]
                if one.env_from
                else []
            )
            image = applied.image(one)
            texts.append(
                quadlets.render(one, image, files)
                if as_quadlet
                else rendering.command_line(one, image, files)
            )
        return "\n".join(texts)

    def _kept(self, declaration: str | None = None) -> NodeDeclaration:
        """The declared services; none before the first time."""
        if declaration is None and not self._state.declaration.exists():
            return NodeDeclaration(str(self._state.declaration), {})
        return self._declaration(declaration)

    def _known(self, declaration: NodeDeclaration) -> list[str]:
        """The services of a declaration and of the last applied one."""
        names = list(declaration.services)
        with contextlib.suppress(errors.InputError):
            names += self._kept().services
        return list(dict.fromkeys(names))

    def recover(self) -> list[str]:
        """Finish what a crash left; see `Node.recover`."""
        with (
            self._stores(self._options) as node,
            self._changing(node, self._kept()),
        ):
            return list(node.recovered)

    def history(self, name: str | None = None) -> list[HistoryEntry]:
        """The history of one service or all, the newest entry first."""
        return [
            entry
            for entry in reversed(self._state.history())
            if name in (None, entry.service)
        ]

    def _is_kept(self, declaration: NodeDeclaration) -> bool:
        return declaration.path == str(self._state.declaration)

    def _keep(self, declaration: NodeDeclaration) -> None:
        """Keep the declaration that was applied.

        :raises PartialFailure: when it cannot be kept.
        """
        if self._is_kept(declaration):
            return
        try:
            self._state.keep_declaration(declaration.text)
        except errors.ImagePrepError as error:
            raise errors.PartialFailure(
                f"the services are as declared, but {error}", hint=error.hint
            ) from error

    @contextlib.contextmanager
    def _applied(
        self, inputs_: ServiceInputs
    ) -> Iterator[tuple[Node, AppliedDeclaration]]:
        """The node, and what is declared for it."""
        applied, merged = self._with_values(inputs_)
        options = self._options.with_parameters(parameters.parse(merged))
        with self._stores(options) as node:
            yield node, applied

    def _with_values(
        self, inputs_: ServiceInputs
    ) -> tuple[AppliedDeclaration, Environment]:
        merged = environments.merge(_layers(inputs_))
        values = {
            name: merged.value(name) for name in merged.parameter_defaults
        }
        declared = self._declaration(inputs_.declaration)
        return AppliedDeclaration(declared, values), merged

    def _declaration(self, path: str | None) -> NodeDeclaration:
        if not path and not self._state.declaration.exists():
            raise errors.InvalidArgument(
                "no declaration was applied on this node yet",
                hint="name one with --declaration",
            )
        return declarations.load(path or str(self._state.declaration))

    @contextlib.contextmanager
    def _changing(
        self, node: Node, declaration: NodeDeclaration
    ) -> Iterator[NodeDeclaration]:
        """Lock and repair the node; what is declared from then on.

        A command that had the lock may have applied another declaration.
        """
        with node.changing(lambda: self._known(declaration)):
            yield self._kept() if self._is_kept(declaration) else declaration

    @contextlib.contextmanager
    def _stores(self, options: RegistryOptions) -> Iterator[Node]:
        with (
            Stores(options, self._observer) as stores,
            tempfile.TemporaryDirectory(prefix="image-prepare-") as directory,
        ):
            self._node = Node(
                self._host, ServiceRegistries(stores, options, Path(directory))
            )
            yield self._node


def _layers(inputs_: ServiceInputs) -> list[EnvironmentFile]:
    layers = []
    if inputs_.plan:
        layers = [
            environments.from_data(data, name)
            for name, data in inputs_.plan.read().environments
        ]
    return [*layers, *map(environments.load, inputs_.environment_files)]


def _usable_podman() -> PodmanInformation:
    """The podman of this host.

    :raises LocalStorageError: when it is too old.
    """
    podman = Podman().information()
    if podman.version < _OLDEST:
        version, oldest = (
            ".".join(map(str, v)) for v in (podman.version, _OLDEST)
        )
        raise errors.LocalStorageError(
            f"podman: version {version} is too old",
            hint=f"install podman {oldest} or later",
        )
    return podman


def _state_directory(podman: PodmanInformation) -> Path:
    """The directory of the state; each of podman's storages has its own."""
    storage = podman.storage
    if os.geteuid() == 0:
        # Units of systemd and users of sudo have one state.
        directory, usual = state_directory("service", {}), _STORAGE
    else:
        directory = state_directory("service")
        usual = Path.home() / ".local/share/containers/storage"
    directory = Path(os.environ.get("IMAGE_PREPARE_STATE") or directory)
    if storage == usual:
        return directory
    name = hashlib.sha256(os.fsencode(storage)).hexdigest()[:12]
    return directory / f"storage-{name}"
