"""Upgrading, starting and putting back the services of a node."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.observer import Observer
from imageprep_client.programs import systemd
from imageprep_client.programs.podman import InspectedContainer, Podman
from imageprep_client.service import holding, images, preflight, probing, units
from imageprep_client.service.declaration import (
    AppliedDeclaration,
    NodeDeclaration,
    Service,
)
from imageprep_client.service.definitions import adopting
from imageprep_client.service.images import ImageRegistries, ResolvedImage
from imageprep_client.service.journal import StateDirectory
from imageprep_client.service.owners import Owner, TargetContainer
from imageprep_client.service.swapping import (
    ServiceSwap,
    Swapper,
    SwapPolicy,
    old_target,
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServiceChange:
    """The action on one service, done or planned.

    :ivar action: ``replace``, ``start`` or ``keep``.
    :ivar reason: why.
    :ivar old_digest: of the image that runs; empty for none.
    """

    service: str
    action: str
    reason: str
    old_digest: str = ""
    new_digest: str = ""


@dataclasses.dataclass(frozen=True, slots=True)
class _Prepared:
    """A service with all that is known of it before a change."""

    service: Service
    image: ResolvedImage
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    current: InspectedContainer | None = None
    change: ServiceChange | None = None


class Node:
    """The services of this host.

    :param state: is made when something is about to be changed.
    """

    def __init__(
        self,
        podman: Podman,
        state: StateDirectory,
        registries: ImageRegistries,
        observer: Observer,
    ) -> None:
        self._podman = podman
        self._state = state
        self._registries = registries
        self._observer = observer
        self._swapper = Swapper(podman, state, observer, self._owner)
        #: The services that `changing` has put back.
        self.recovered: list[str] = []

    @contextlib.contextmanager
    def changing(self) -> Iterator[None]:
        """Have the node for this command; first repair what one left."""
        self._state.make()
        with self._state.locked(self._observer.waiting):
            self._state.wait_for_programs(self._observer.waiting)
            self.recovered = self._recover()
            yield

    def _recover(self) -> list[str]:
        """Put back what a killed command left unfinished.

        :returns: the services that were put back.
        """
        journal = self._state.journal()
        if journal is None:
            return []
        self._observer.note(f"an interrupted {journal.action} is put right")
        reverted = self._swapper.revert(
            journal, f"the {journal.action} was interrupted"
        )
        for name in reverted:
            self._observer.warning(
                f"{name}: its {journal.action} was interrupted; the old"
                " container is back"
            )
        return reverted

    def upgrade(
        self,
        applied: AppliedDeclaration,
        names: Sequence[str],
        policy: SwapPolicy,
        *,
        dry_run: bool = False,
        kill_survivors: bool = False,
        allow_downgrade: bool = False,
    ) -> list[ServiceChange]:
        """Let services be as they are declared.

        :returns: what was done, or with `dry_run` would be done.
        :raises PartialFailure: when something failed after the first stop.
        :raises ImagePrepError: when nothing was stopped.
        """
        services = applied.declaration.select(names)
        prepared = [self._prepare(applied, one) for one in services]
        changed = [
            one
            for one in prepared
            if one.change and one.change.action != "keep"
        ]
        for one in changed:
            self._check(one, kill_survivors=kill_survivors)
        changes = [one.change for one in prepared if one.change]
        if dry_run:
            return changes
        images.check_space(
            [one.image for one in changed], self._podman.storage()
        )
        pulled = [
            dataclasses.replace(
                one,
                image=images.pull(
                    one.image, self._podman, self._registries, self._observer
                ),
            )
            for one in changed
        ]
        for one in pulled:
            if not allow_downgrade:
                self._check_version(one)
            self._wait_for(one.service, policy.healthy_deadline)
        running = [
            name
            for name in applied.declaration.services
            if (found := self._podman.container(name)) and found.is_alive
        ]
        swaps = [
            self._swap(one, kill_survivors=kill_survivors) for one in pulled
        ]
        self._swapper.run("upgrade", swaps, running, policy)
        return changes

    def rollback(
        self,
        declared: Mapping[str, Service],
        names: Sequence[str],
        generation: int,
        policy: SwapPolicy,
    ) -> list[ServiceChange]:
        """Put the container of an earlier generation back.

        :param declared: services whose probes and survivors count, and what
            they wait for.
        :param generation: 0 for the newest that is kept.
        :raises NotFound: when none is kept.
        """
        containers = self._podman.containers()
        swaps = []
        changes = []
        for name in names:
            kept = [
                one
                for one in holding.holders(containers, name)
                if generation in (0, one.generation)
            ]
            if not kept:
                which = f"generation {generation}" if generation else "one"
                raise errors.NotFound(
                    f"{name}: {which} of an earlier container is not kept",
                    hint="look at: service history",
                )
            old = holding.held(self._podman, kept[0].name)
            current = self._podman.container(name)
            service = declared.get(name)
            if service:
                if current:
                    preflight.check_survivors(service, current)
                self._wait_for(service, policy.healthy_deadline)
            swaps.append(
                ServiceSwap(
                    old_target(old),
                    current,
                    self._owner(name, current),
                    service.health if service else None,
                    lambda: None,
                )
            )
            changes.append(
                ServiceChange(
                    service=name,
                    action="replace",
                    reason=f"back to generation {kept[0].generation}",
                    old_digest=current.digest if current else "",
                    new_digest=old.digest,
                )
            )
        self._swapper.run("rollback", swaps, names, policy)
        return changes

    def start(
        self,
        applied: AppliedDeclaration,
        names: Sequence[str],
        policy: SwapPolicy,
    ) -> list[ServiceChange]:
        """Start services that do not run, each when it may.

        A container that exists is started as it is.
        """
        services = applied.declaration.select(names)
        # No registry is needed for a container that exists.
        absent = [
            self._prepare(applied, one)
            for one in services
            if self._podman.container(one.name) is None
        ]
        images.check_space(
            [one.image for one in absent], self._podman.storage()
        )
        pulled = {
            one.service.name: dataclasses.replace(
                one,
                image=images.pull(
                    one.image, self._podman, self._registries, self._observer
                ),
            )
            for one in absent
        }
        changes = []
        for service in services:
            name = service.name
            current = self._podman.container(name)
            if current and current.is_alive and current.state == "running":
                changes.append(
                    ServiceChange(
                        service=name,
                        action="keep",
                        reason="runs",
                        old_digest=current.digest,
                        new_digest=current.digest,
                    )
                )
                continue
            preflight.check_host(name, service.preflight, systemd.is_active)
            self._wait_for(service, policy.healthy_deadline)
            owner = self._owner(name, current)
            if current:
                owner.stop(current)
                owner.start(name)
            else:
                self._swapper.remove_leftovers({name})
                owner.replace(None, self._target(pulled[name]))
            reason = probing.HealthWatch(
                self._podman,
                name,
                service.health,
                minimum=0,
                deadline=policy.healthy_deadline,
            ).wait()
            if reason:
                raise errors.PartialFailure(
                    f"{name}: was started and is not healthy: {reason}", []
                )
            changes.append(
                ServiceChange(
                    service=name,
                    action="start",
                    reason="did not run" if current else "was absent",
                    new_digest=current.digest
                    if current
                    else pulled[name].image.digest,
                )
            )
        return changes

    def stop(
        self, declaration: NodeDeclaration, names: Sequence[str]
    ) -> list[ServiceChange]:
        """Stop services, each before those that it depends on.

        :raises PartialFailure: when one could not be stopped.
        """
        changes = []
        for service in reversed(declaration.select(names)):
            current = self._podman.container(service.name)
            if current is None:
                continue
            runs = current.is_alive or current.state == "stopping"
            if runs:
                preflight.check_survivors(service, current)
                try:
                    self._owner(service.name, current).stop(current)
                except errors.StoreError as error:
                    raise errors.PartialFailure(
                        f"{service.name}: {error}", []
                    ) from error
            changes.append(
                ServiceChange(
                    service=service.name,
                    action="stop" if runs else "keep",
                    reason="ran" if runs else "does not run",
                    old_digest=current.digest,
                )
            )
        return changes

    def _prepare(
        self, applied: AppliedDeclaration, service: Service
    ) -> _Prepared:
        image = images.resolve(
            applied.image(service), self._podman, self._registries
        )
        prepared = _Prepared(
            service,
            image,
            applied.environment(service),
            self._podman.container(service.name),
        )
        return dataclasses.replace(prepared, change=self._change(prepared))

    def _change(self, one: _Prepared) -> ServiceChange:
        current = one.current
        if current is None:
            return ServiceChange(
                service=one.service.name,
                action="start",
                reason="there is no container",
                new_digest=one.image.digest,
            )
        reason = self._difference(one, current)
        return ServiceChange(
            service=one.service.name,
            action="replace" if reason else "keep",
            reason=reason or "is as declared",
            old_digest=current.digest,
            new_digest=one.image.digest,
        )

    def _difference(self, one: _Prepared, current: InspectedContainer) -> str:
        """Why a container is not the declared one; empty when it is."""
        if not current.digests & one.image.digests:
            return "another image"
        if not current.is_alive:
            return "does not run"
        if self._owner(one.service.name, current).declares_options:
            return ""
        image = self._podman.image(current.image_id)
        if not one.service.same_container(adopting.adopt(current, image)):
            return "other options"
        wanted = adopting.declared_environment(one.service, one.environment)
        if adopting.own_environment(current, image) != adopting.visible(
            wanted, image
        ):
            return "another environment"
        return ""

    def _check(self, one: _Prepared, *, kill_survivors: bool) -> None:
        preflight.check_host(
            one.service.name, one.service.preflight, systemd.is_active
        )
        if one.current and not kill_survivors:
            preflight.check_survivors(one.service, one.current)

    def _check_version(self, one: _Prepared) -> None:
        if one.current and one.image.local:
            preflight.check_downgrade(
                one.service,
                one.current,
                self._podman.image(one.current.image_id),
                one.image.local,
                self._podman,
            )

    def _wait_for(self, service: Service, seconds: float) -> None:
        if service.wait_for is None:
            return
        self._observer.note(f"{service.name}: waits for {service.wait_for}")
        reason = probing.wait(
            service.wait_for, time.monotonic() + seconds, probing.on_host
        )
        if reason:
            raise errors.StoreError(
                f"{service.name}: what it waits for is not there: {reason}"
            )

    def _swap(self, one: _Prepared, *, kill_survivors: bool) -> ServiceSwap:
        return ServiceSwap(
            self._target(one),
            one.current,
            self._owner(one.service.name, one.current),
            one.service.health,
            lambda: self._check(one, kill_survivors=kill_survivors),
        )

    def _target(self, one: _Prepared) -> TargetContainer:
        return TargetContainer(
            one.service,
            one.image.pinned,
            one.image.digest,
            one.image.digests,
            one.environment,
        )

    def _owner(
        self, name: str, current: InspectedContainer | None, unit: str = ""
    ) -> Owner:
        return units.find_owner(name, current, self._podman, self._state, unit)
