"""The composition root of service containers on this node."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import hashlib
import json
import os
import platform
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.client.registry_options import RegistryOptions
from imageprep_client.client.stores import Stores
from imageprep_client.heat import environment as environments
from imageprep_client.heat import parameters
from imageprep_client.heat.environment import EnvironmentFile
from imageprep_client.heat.value import Value
from imageprep_client.host import inputs
from imageprep_client.host.processes import MARK
from imageprep_client.observer import Observer
from imageprep_client.oci.descriptor import Descriptor
from imageprep_client.oci.platform import Platform
from imageprep_client.oci.reference import Reference
from imageprep_client.plans.base import Plan
from imageprep_client.programs.podman import Podman, PullOptions
from imageprep_client.service import declaration as declarations
from imageprep_client.service import listing
from imageprep_client.service.declaration import AppliedDeclaration
from imageprep_client.service.definitions import adopting, rendering
from imageprep_client.service.definitions import paunch as paunches
from imageprep_client.service.definitions import quadlet as quadlets
from imageprep_client.service.images import RemoteImage
from imageprep_client.service.journal import HistoryEntry, StateDirectory
from imageprep_client.service.listing import ServiceStatus
from imageprep_client.service.swapping import OnFailure, SwapPolicy
from imageprep_client.service.upgrading import Node, ServiceChange
from imageprep_client.stores import verify
from imageprep_client.stores.base import ReadableStore

__all__ = [
    "AdoptedServices",
    "HistoryEntry",
    "OnFailure",
    "ServiceChange",
    "ServiceInputs",
    "ServiceNode",
    "ServiceStatus",
    "SwapPolicy",
]

#: Where the state of podman's usual storage is, for root.
_STATE = Path("/var/lib/image-prepare/service")
_STORAGE = Path("/var/lib/containers/storage")
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}
_SILENT = Observer()


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceInputs:
    """The wanted services, as the user names them.

    :ivar declaration: a file; None: the one that was applied last.
    :ivar environment_files: heat environments, later ones win.
    :ivar plan: read before those; None for none.
    """

    declaration: str | None = None
    environment_files: Sequence[str] = ()
    plan: Plan | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class AdoptedServices:
    """A declaration that was made of what is there.

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
        observer: Observer = _SILENT,
    ) -> None:
        self._options = options or RegistryOptions()
        self._observer = observer
        self._podman = Podman()
        self._state = StateDirectory(_state_directory(self._podman))
        self._podman = Podman({MARK: self._state.mark})

    def upgrade(
        self,
        inputs_: ServiceInputs,
        names: Sequence[str],
        policy: SwapPolicy,
        *,
        dry_run: bool = False,
        kill_survivors: bool = False,
        allow_downgrade: bool = False,
    ) -> list[ServiceChange]:
        """Let services be as they are declared; see `Node.upgrade`."""
        with self._node(inputs_) as (node, applied):
            if dry_run:
                return node.upgrade(
                    applied,
                    names,
                    policy,
                    dry_run=True,
                    kill_survivors=kill_survivors,
                    allow_downgrade=allow_downgrade,
                )
            with node.changing():
                changes = node.upgrade(
                    applied,
                    names,
                    policy,
                    kill_survivors=kill_survivors,
                    allow_downgrade=allow_downgrade,
                )
                self._keep(inputs_)
                return changes

    def start(
        self, inputs_: ServiceInputs, names: Sequence[str], policy: SwapPolicy
    ) -> list[ServiceChange]:
        """Start services; see `Node.start`."""
        with self._node(inputs_) as (node, applied), node.changing():
            changes = node.start(applied, names, policy)
            self._keep(inputs_)
            return changes

    def rollback(
        self, names: Sequence[str], generation: int, policy: SwapPolicy
    ) -> list[ServiceChange]:
        """Put earlier containers back; see `Node.rollback`."""
        with self._stores(self._options) as node, node.changing():
            return node.rollback(self._kept(), names, generation, policy)

    def stop(
        self, declaration: str | None, names: Sequence[str]
    ) -> list[ServiceChange]:
        """Stop services; see `Node.stop`."""
        found = self._declaration(ServiceInputs(declaration=declaration))
        with self._stores(self._options) as node, node.changing():
            return node.stop(found, names)

    def statuses(
        self, names: Sequence[str] = (), declaration: str | None = None
    ) -> list[ServiceStatus]:
        """How services run; see `service.listing.statuses`."""
        declared = self._kept(declaration)
        return listing.statuses(self._podman, self._state, declared, names)

    def package_version(self, name: str, package: str) -> str:
        """See `service.listing.package_version`."""
        return listing.package_version(self._podman, name, package)

    def adopt(
        self,
        names: Sequence[str],
        *,
        paunch: str = "",
        quadlet: str = "",
    ) -> AdoptedServices:
        """A declaration of containers, or of what a file has.

        :param paunch: a startup configuration of paunch or TripleO.
        :param quadlet: a file of Quadlet.
        :raises NotFound: when there is no such container.
        """
        if paunch or quadlet:
            found = (
                paunches.load(paunch)
                if paunch
                else {one.name: one for one in [quadlets.load(quadlet)]}
            )
            lacking = [name for name in names if name not in found]
            if lacking:
                raise errors.NotFound(
                    f"{paunch or quadlet}: has no container {lacking[0]}",
                    hint="it has: " + ", ".join(found),
                )
            services = [found[name] for name in names or found]
        else:
            services = [self._adopted(name) for name in names]
        return AdoptedServices(
            [one.name for one in services], declarations.render(services)
        )

    def _adopted(self, name: str) -> declarations.Service:
        container = self._podman.container(name)
        if container is None:
            raise errors.NotFound(
                f"{name}: no such container",
                hint="list them: podman ps --all",
            )
        image = self._podman.image(container.image_id)
        return adopting.adopt(container, image)

    def render(
        self,
        inputs_: ServiceInputs,
        names: Sequence[str],
        *,
        as_quadlet: bool = False,
    ) -> str:
        """Commands or units for services; nothing is changed."""
        layers = environments.merge(_layers(inputs_))
        applied = AppliedDeclaration(
            self._declaration(inputs_), _Parameters(layers)
        )
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

    def _kept(
        self, declaration: str | None = None
    ) -> Mapping[str, declarations.Service]:
        """The services that are declared; none before the first time."""
        if declaration is None and not self._state.declaration.exists():
            return {}
        return self._declaration(
            ServiceInputs(declaration=declaration)
        ).services

    def recover(self) -> list[str]:
        """Finish what a crash left; see `Node.recover`."""
        with self._stores(self._options) as node, node.changing():
            return list(node.recovered)

    def history(self, name: str = "") -> list[HistoryEntry]:
        """The history, the newest entry first."""
        return [
            entry
            for entry in reversed(self._state.history())
            if name in ("", entry.service)
        ]

    def _keep(self, inputs_: ServiceInputs) -> None:
        if inputs_.declaration:
            self._state.keep_declaration(inputs.load(inputs_.declaration))

    @contextlib.contextmanager
    def _node(
        self, inputs_: ServiceInputs
    ) -> Iterator[tuple[Node, AppliedDeclaration]]:
        """The node, and what is declared for it."""
        layers = _layers(inputs_)
        merged = environments.merge(layers)
        applied = AppliedDeclaration(
            self._declaration(inputs_), _Parameters(merged)
        )
        options = self._options.with_parameters(parameters.parse(merged))
        with self._stores(options) as node:
            yield node, applied

    def _declaration(
        self, inputs_: ServiceInputs
    ) -> declarations.NodeDeclaration:
        path = inputs_.declaration or str(self._state.declaration)
        if not inputs_.declaration and not self._state.declaration.exists():
            raise errors.InvalidArgument(
                "no declaration was applied on this node yet",
                hint="name one with --declaration",
            )
        return declarations.load(path)

    @contextlib.contextmanager
    def _stores(self, options: RegistryOptions) -> Iterator[Node]:
        with (
            Stores(options, self._observer) as stores,
            tempfile.TemporaryDirectory(prefix="image-prepare-") as directory,
        ):
            yield Node(
                self._podman,
                self._state,
                _Registries(stores, options, Path(directory)),
                self._observer,
            )


class _Parameters(Mapping[str, Value]):
    """The parameters that are set, with the place of each."""

    def __init__(self, merged: environments.Environment) -> None:
        self._merged = merged

    def __getitem__(self, name: str) -> Value:
        if name not in self._merged.parameter_defaults:
            raise KeyError(name)
        return self._merged.value(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._merged.parameter_defaults)

    def __len__(self) -> int:
        return len(self._merged.parameter_defaults)


class _Registries:
    """Registries, and how podman reaches them; `images.ImageRegistries`.

    :param directory: for a file of credentials.
    """

    def __init__(
        self, stores: Stores, options: RegistryOptions, directory: Path
    ) -> None:
        self._stores = stores
        self._options = options
        self._directory = directory

    def look_up(self, reference: Reference) -> RemoteImage:
        store = self._stores.source(reference)
        described = _for_this_host(store, reference, reference.identifier)
        manifest = verify.manifest(store, described[-1])
        size = sum(layer.size for layer in manifest.layers)
        return RemoteImage(described[0].digest, size)

    def admit(self, reference: Reference, digest: str) -> None:
        admission = self._stores.admission(reference)
        if admission is not None:
            store = self._stores.source(reference)
            # As podman does when it pulls: of an index this host's image.
            *_, image = _for_this_host(store, reference, digest)
            admission.admit(store, [image])

    def pull_options(self, reference: Reference) -> PullOptions:
        insecure = self._stores.insecure([reference.registry])
        return PullOptions(
            insecure=bool(insecure),
            authfile=self._authfile(),
            cert_dir=self._certificates(),
        )

    def _authfile(self) -> str:
        """A file with the credentials that only the options have."""
        if not self._options.credentials:
            return self._options.authfile or ""
        path = self._directory / "auth.json"
        auths = {
            registry: {
                "auth": base64.b64encode(
                    f"{one.username}:{one.password}".encode()
                ).decode()
            }
            for registry, one in self._options.credentials.items()
        }
        if self._options.authfile:
            content = json.loads(inputs.load(self._options.authfile))
            auths = {**content.get("auths", {}), **auths}
        # The directory is this user's alone.
        path.write_text(json.dumps({"auths": auths}))
        return str(path)

    def _certificates(self) -> str:
        if not self._options.cacert:
            return ""
        directory = self._directory / "certificates"
        directory.mkdir(exist_ok=True)
        content = inputs.load(self._options.cacert)
        (directory / "ca.crt").write_bytes(content)
        return str(directory)


def _for_this_host(
    store: ReadableStore, reference: Reference, identifier: str
) -> list[Descriptor]:
    """The descriptor of an image, and of an index its manifest for this host.

    :raises NotFound: when the index has none.
    """
    descriptor = store.resolve(identifier)
    manifest = verify.manifest(store, descriptor)
    if not manifest.is_index:
        return [descriptor]
    here = Platform.parse(
        f"linux/{_MACHINES.get(platform.machine(), platform.machine())}"
    )
    for child in manifest.manifests:
        if child.platform and child.platform.matches(here):
            return [descriptor, child]
    raise errors.NotFound(f"{reference}: has no image for {here}")


def _layers(inputs_: ServiceInputs) -> list[EnvironmentFile]:
    layers = []
    if inputs_.plan:
        layers = [
            environments.from_data(data, name)
            for name, data in inputs_.plan.read().environments
        ]
    return [*layers, *map(environments.load, inputs_.environment_files)]


def _state_directory(podman: Podman) -> Path:
    """The directory of the state; each of podman's storages has its own."""
    storage = podman.storage()
    if os.geteuid() == 0:
        directory, usual = _STATE, _STORAGE
    else:
        home = Path.home()
        state = os.environ.get("XDG_STATE_HOME") or home / ".local/state"
        directory = Path(state, "image-prepare", "service")
        usual = home / ".local/share/containers/storage"
    directory = Path(os.environ.get("IMAGE_PREPARE_STATE") or directory)
    if storage == usual:
        return directory
    name = hashlib.sha256(os.fsencode(storage)).hexdigest()[:12]
    return directory / f"storage-{name}"
