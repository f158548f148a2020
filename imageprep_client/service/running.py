"""Starting and stopping services, after repairs."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.programs import systemd
from imageprep_client.programs.podman import InspectedContainer
from imageprep_client.service import holding, images, preflight, probing
from imageprep_client.service.declaration import (
    KEPT,
    AppliedDeclaration,
    NodeDeclaration,
    Service,
)
from imageprep_client.service.holding import TargetContainer
from imageprep_client.service.images import ImageRegistries, ResolvedImage
from imageprep_client.service.owners import Owner, same_target
from imageprep_client.service.reverting import named, remove_leftovers
from imageprep_client.service.swapping import (
    ServiceSwap,
    SwapOutcome,
    Swapper,
    SwapPolicy,
)
from imageprep_client.service.units import ServiceHost

#: Restart policies by which podman starts again what has ended.
_RESTARTED = ("always", "unless-stopped")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceChange:
    """The action on one service, done or planned.

    :ivar action: ``replace``, ``start``, ``stop`` or ``keep``.
    :ivar reason: why.
    :ivar old_digest: of the image that runs; empty for none.
    :ivar outcome: of the action.
    """

    service: str
    action: str
    reason: str
    old_digest: str = ""
    new_digest: str = ""
    outcome: SwapOutcome = SwapOutcome.UNTOUCHED


@dataclasses.dataclass(frozen=True, slots=True)
class PreparedService:
    """A service with all that is known of it before a change."""

    service: Service
    owner: Owner
    image: ResolvedImage
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    current: InspectedContainer | None = None

    @property
    def target(self) -> TargetContainer:
        """The container that it is to have."""
        return TargetContainer(
            self.service,
            self.image.pinned,
            self.image.digest,
            self.image.digests,
            self.environment,
        )


class RunningServices:
    """The services of this host, which can be started and stopped.

    :param host: its state is made when something is about to be changed.
    :ivar changes: of the last command; some may not have been made.
    """

    def __init__(self, host: ServiceHost, registries: ImageRegistries) -> None:
        self._podman = host.podman
        self._state = host.state
        self._observer = host.observer
        self._owner = host.owner
        self._registries = registries
        self._swapper = Swapper(host)
        self.changes: list[ServiceChange] = []
        #: The services that `changing` has repaired.
        self.recovered: list[str] = []

    @contextlib.contextmanager
    def changing(self, names: Callable[[], Collection[str]]) -> Iterator[None]:
        """Lock the node for a command, and repair what an earlier one left.

        :param names: all services that are known, once it is locked.
        """
        self._state.make()
        with self._state.locked(self._observer.waiting):
            self._state.wait_for_programs(self._observer.waiting)
            self._state.remove_environments(KEPT)
            self.recovered = self._recover()
            self.recovered += self._settle(
                [name for name in names() if name not in self.recovered]
            )
            yield

    def _recover(self) -> list[str]:
        """Restore what a killed command left unfinished.

        :returns: the services that were restored.
        """
        journal = self._state.journal()
        if journal is None:
            return []
        self._observer.note(f"repairing an interrupted {journal.action}")
        reverted = self._swapper.revert(
            journal, f"the {journal.action} was interrupted"
        )
        for name in reverted:
            self._observer.warning(
                f"{name}: its {journal.action} was interrupted; the old"
                " container was restored"
            )
        return reverted

    def _settle(self, names: Collection[str]) -> list[str]:
        """Repair what killed programs left without a journal.

        A half-made container is removed, a stop is finished, and a process
        that is gone is started again where podman would have done so.

        :returns: the services that were repaired.
        """
        containers = self._podman.containers()
        trials = [one.id for one in containers if holding.is_trial(one)]
        if trials:
            self._podman.discard(*trials)
        kept = (one.name for one in holding.half_holders(containers))
        removed = remove_leftovers(self._podman, containers, {*names, *kept})
        for name in removed:
            self._observer.warning(
                f"{name}: a half-made container was removed"
            )
        known = {name for one in containers for name in one.names}
        settled = []
        present = self._podman.inspected(
            [name for name in names if name in known and name not in removed]
        )
        for name, container in present.items():
            try:
                told = self._settle_one(name, container)
            except errors.InputError:
                continue  # another program has it
            except errors.StoreError as error:
                self._observer.warning(f"{name}: cannot be repaired: {error}")
                continue
            if told:
                settled.append(name)
                self._observer.warning(f"{name}: {told}")
        return [name for name in names if name in {*removed, *settled}]

    def _settle_one(self, name: str, container: InspectedContainer) -> str:
        """The action on a container; empty for none."""
        if container.is_lost:
            return self._renew(name, container)
        if container.state == "stopping":
            self._owner(name, container).stop(container)
            return "its interrupted stop was finished"
        return ""

    def _renew(self, name: str, container: InspectedContainer) -> str:
        """Make a container again that podman cannot start any more."""
        owner = self._owner(name, container)
        runs = bool(owner.unit) or container.restart_policy in _RESTARTED
        image = self._podman.image(container.image_id)
        names = self._podman.shared_names(container)
        target = dataclasses.replace(
            same_target(container, image, names), runs=runs
        )
        swap = ServiceSwap(target, container, owner, health=None)
        self._swapper.renew("recover", swap)
        started = "; it was started again" if runs else ""
        return f"its process was gone{started}"

    def start(
        self,
        applied: AppliedDeclaration,
        names: Sequence[str],
        policy: SwapPolicy,
    ) -> list[ServiceChange]:
        """Start services that do not run, each when its wait_for succeeds.

        A container that exists is started as it is.

        :raises PartialFailure: when something failed after the first start.
        :raises ImagePrepError: when nothing was started.
        """
        containers = self._podman.inspected(list(applied.declaration.services))
        services, joined = _to_start(applied.declaration, names, containers)
        owners = {
            one.name: self._owner(one.name, containers.get(one.name))
            for one in services
        }
        # No registry is needed for a container that exists, or that its unit
        # makes.
        absent = [
            self._prepare(applied, one, None)
            for one in services
            if one.name not in containers
            and not owners[one.name].declares_options
        ]
        for service in services:
            current = containers.get(service.name)
            if current is None or not current.is_alive:
                self._check_host(service, current)
            elif service.name in joined:
                preflight.check_survivors(service, current)
        pulled = {one.service.name: one for one in self._pulled(absent)}
        for service in services:
            current = containers.get(service.name)
            prepared = pulled.get(service.name)
            digest = current.digest if current else ""
            digest = prepared.image.digest if prepared else digest
            reason = joined.get(service.name, "")
            if current and _runs(current) and not reason:
                self.changes.append(
                    ServiceChange(
                        service=service.name,
                        action="keep",
                        reason="runs",
                        old_digest=digest,
                        new_digest=digest,
                    )
                )
                continue
            change = ServiceChange(
                service=service.name,
                action="start",
                reason=reason or ("was absent" if prepared else "did not run"),
                new_digest=digest,
                outcome=SwapOutcome.FAILED,
            )
            with self._partial():
                self._wait_for(service, policy.healthy_deadline)
                self.changes.append(change)
                with named(service.name):
                    _start(owners[service.name], service, current, prepared)
                self._watch(service, policy)
            self.changes[-1] = dataclasses.replace(
                change, outcome=SwapOutcome.DONE
            )
        return self.changes

    def _watch(self, service: Service, policy: SwapPolicy) -> None:
        reason = probing.HealthWatch(
            self._podman,
            service.name,
            service.health,
            minimum=0,
            deadline=policy.healthy_deadline,
        ).wait()
        if reason:
            raise errors.StoreError(
                f"{service.name}: was started and is not healthy: {reason}"
            )

    @contextlib.contextmanager
    def _partial(self) -> Iterator[None]:
        """Report a failure after the first change as a partial one."""
        try:
            yield
        except errors.ImagePrepError as error:
            begun = [one for one in self.changes if one.action != "keep"]
            if not begun:
                raise
            raise errors.PartialFailure(str(error), hint=error.hint) from error

    def stop(
        self,
        declaration: NodeDeclaration,
        names: Sequence[str],
        *,
        kill_survivors: bool = False,
    ) -> list[ServiceChange]:
        """Stop services, each before those that it depends on.

        :raises PartialFailure: when one could not be stopped.
        """
        services = declaration.select(names)
        containers = self._podman.inspected([one.name for one in services])
        owners = {
            name: self._owner(name, container)
            for name, container in containers.items()
        }
        for service in services:
            current = containers.get(service.name)
            if current and not kill_survivors:
                preflight.check_survivors(service, current)
        for name, current in reversed(containers.items()):
            runs = current.is_alive or current.state == "stopping"
            change = ServiceChange(
                service=name,
                action="stop" if runs else "keep",
                reason="ran" if runs else "does not run",
                old_digest=current.digest,
                outcome=SwapOutcome.FAILED if runs else SwapOutcome.UNTOUCHED,
            )
            self.changes.append(change)
            if runs:
                with self._partial(), named(name):
                    owners[name].stop(current)
                self.changes[-1] = dataclasses.replace(
                    change, outcome=SwapOutcome.DONE
                )
        return self.changes

    def _prepare(
        self,
        applied: AppliedDeclaration,
        service: Service,
        current: InspectedContainer | None,
    ) -> PreparedService:
        owner = self._owner(service.name, current)
        image = images.resolve(
            applied.image(service), self._podman, self._registries
        )
        return PreparedService(
            service, owner, image, applied.environment(service), current
        )

    def _pulled(
        self, prepared: Sequence[PreparedService]
    ) -> list[PreparedService]:
        """Pull the images of services.

        :raises ImagePrepError: when one cannot be pulled.
        """
        if prepared:
            images.check_space(
                [one.image for one in prepared],
                self._podman.information().storage,
            )
        return [
            dataclasses.replace(
                one,
                image=images.pull(
                    one.image, self._podman, self._registries, self._observer
                ),
            )
            for one in prepared
        ]

    def _check_host(
        self, service: Service, current: InspectedContainer | None
    ) -> None:
        preflight.check_host(
            service.name, service.preflight, systemd.is_active
        )
        preflight.check_ports(service, current)

    def _wait_for(self, service: Service, seconds: float) -> None:
        if service.wait_for is None:
            return
        self._observer.note(f"{service.name}: waits for {service.wait_for}")
        reason = probing.wait(
            service.wait_for, time.monotonic() + seconds, probing.on_host
        )
        if reason:
            raise errors.StoreError(
                f"{service.name}: wait_for did not succeed: {reason}"
            )


def _start(
    owner: Owner,
    service: Service,
    current: InspectedContainer | None,
    prepared: PreparedService | None,
) -> None:
    if prepared:
        owner.replace(None, prepared.target)
        return
    if current:
        owner.stop(current)
    owner.start(service.name)


def _runs(container: InspectedContainer) -> bool:
    return container.is_alive and container.state == "running"


def _to_start(
    declaration: NodeDeclaration,
    names: Sequence[str],
    containers: Mapping[str, InspectedContainer],
) -> tuple[list[Service], dict[str, str]]:
    """The services to start, and those that run but have to start again.

    A container that runs while another one starts is in namespaces that the
    other one had before.

    :returns: the services in order, and reasons by name.
    """
    selected = declaration.select(names)
    started: dict[str, str] = {}
    reasons: dict[str, str] = {}
    services = []
    for service in declaration.select([]):
        current = containers.get(service.name)
        needed = current.dependencies if current else frozenset()
        bases = [name for one, name in started.items() if one in needed]
        if current and bases and _runs(current):
            reasons[service.name] = f"shares namespaces of {bases[0]}"
        elif service not in selected:
            continue
        services.append(service)
        if current and (bases or not _runs(current)):
            started[current.id] = service.name
    return services, reasons
