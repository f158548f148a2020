"""Upgrading and rolling back the services of a node."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence

from imageprep_client import errors
from imageprep_client.programs.podman import InspectedContainer
from imageprep_client.service import holding, preflight
from imageprep_client.service.declaration import (
    AppliedDeclaration,
    NodeDeclaration,
    Service,
)
from imageprep_client.service.definitions import adopting
from imageprep_client.service.holding import TargetContainer
from imageprep_client.service.owners import same_target
from imageprep_client.service.running import (
    PreparedService,
    RunningServices,
    ServiceChange,
)
from imageprep_client.service.swapping import (
    ServiceSwap,
    SwapOutcome,
    SwapPolicy,
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class UpgradeOptions:
    """The options of an upgrade.

    :ivar dry_run: nothing is pulled or changed.
    :ivar kill_survivors: end processes that ought to survive.
    :ivar allow_downgrade: take images of older versions.
    """

    dry_run: bool = False
    kill_survivors: bool = False
    allow_downgrade: bool = False


class Node(RunningServices):
    """The services of this host, with upgrades and rollbacks."""

    def upgrade(
        self,
        applied: AppliedDeclaration,
        names: Sequence[str],
        policy: SwapPolicy,
        options: UpgradeOptions,
    ) -> list[ServiceChange]:
        """Bring services into their declared state.

        :returns: what was done, or with `dry_run` would be done.
        :raises PartialFailure: when something failed after the first stop.
        :raises ImagePrepError: when nothing was stopped.
        """
        declaration = applied.declaration
        containers = self._podman.inspected(list(declaration.services))
        prepared = [
            self._prepare(applied, one, containers.get(one.name))
            for one in declaration.select(names)
        ]
        changes = {one.service.name: self._change(one) for one in prepared}
        self._add_attached(applied, containers, prepared, changes)
        self.changes = [changes[one.service.name] for one in prepared]
        changed = [
            one
            for one in prepared
            if changes[one.service.name].action != "keep"
        ]
        replaced = [one.current for one in changed if one.current]
        self._check_attached(replaced, containers)
        for one in changed:
            self._check(one, options)
        if options.dry_run:
            return self.changes
        pulled = self._pulled(changed)
        # These are started by this command: what they give cannot be there.
        awaited = {
            one.service.name
            for one in changed
            if one.current is None or not one.current.is_alive
        }
        for one in pulled:
            if not options.allow_downgrade:
                self._check_version(one)
            needed = declaration.requirements(one.service.name)
            if not needed & awaited:
                self._try_out(one)
                self._wait_for(one.service, policy.healthy_deadline)
        swaps = [
            self._swap(one, declaration, policy, options) for one in pulled
        ]
        running = [
            name
            for name in declaration.ordered(containers)
            if containers[name].is_alive
        ]
        self._run("upgrade", swaps, running, policy)
        return self.changes

    def _add_attached(
        self,
        applied: AppliedDeclaration,
        containers: Mapping[str, InspectedContainer],
        prepared: list[PreparedService],
        changes: dict[str, ServiceChange],
    ) -> None:
        """Also replace containers that have something of replaced ones."""
        for service in applied.declaration.select([]):
            name = service.name
            current = containers.get(name)
            replaced = [
                containers[other]
                for other, change in changes.items()
                if change.action == "replace"
            ]
            reason = current and _bond(service, current, replaced)
            if not current or not reason:
                continue
            if name not in changes:
                one = self._prepare(applied, service, current)
                prepared.append(one)
                changes[name] = self._change(one)
            if changes[name].action == "keep":
                changes[name] = dataclasses.replace(
                    changes[name], action="replace", reason=reason
                )
        order = applied.declaration.ordered(changes)
        prepared.sort(key=lambda one: order.index(one.service.name))

    def _check_attached(
        self,
        replaced: Collection[InspectedContainer],
        known: Mapping[str, InspectedContainer],
    ) -> None:
        """Check that no other container is needed to replace some.

        :raises InvalidArgument: when one is.
        """
        for one in replaced:
            adopting.check_alone(one)
        ids = {one.id for one in replaced}
        if not ids:
            return
        others = {
            one.id
            for one in self._podman.containers()
            if one.state not in holding.HALF
        }.difference(one.id for one in known.values())
        for other in self._podman.inspected(others).values():
            for needed in other.dependencies & ids:
                base = next(one for one in replaced if one.id == needed)
                raise errors.InvalidArgument(
                    f"{base.name}: {other.name} shares its namespaces, and"
                    " would have to be replaced with it",
                    hint=f"declare {other.name}, or remove it first",
                )

    def _run(
        self,
        action: str,
        swaps: Sequence[ServiceSwap],
        running: Sequence[str],
        policy: SwapPolicy,
    ) -> None:
        try:
            self._swapper.run(action, swaps, running, policy)
        finally:
            outcomes = self._swapper.outcomes
            self.changes = [
                dataclasses.replace(
                    one,
                    outcome=outcomes.get(one.service, SwapOutcome.UNTOUCHED),
                )
                for one in self.changes
            ]

    def rollback(
        self,
        declaration: NodeDeclaration,
        names: Sequence[str],
        generation: int,
        policy: SwapPolicy,
    ) -> list[ServiceChange]:
        """Restore the container of an earlier generation.

        :param declaration: services whose probes and survivors count, and
            what they wait for and depend on.
        :param generation: 0 for the newest that is kept.
        :raises NotFound: when none is kept.
        """
        kept = self._kept(names, generation)
        containers = self._podman.inspected(
            {*names, *declaration.services, *(one.name for one in kept)}
        )
        restored = self._restored(declaration, kept, containers)
        replaced = {n: containers[n] for n in restored if n in containers}
        self._check_attached(replaced.values(), containers)
        swaps = []
        for name in declaration.ordered(restored):
            current = replaced.get(name)
            target, reason = restored[name]
            declared = declaration.services.get(name)
            if declared:
                if current:
                    preflight.check_survivors(declared, current)
                self._wait_for(declared, policy.healthy_deadline)
            swaps.append(
                ServiceSwap(
                    target,
                    current,
                    self._owner(name, current),
                    declared.health if declared else None,
                    declaration.requirements(name)
                    | target.service.requirements,
                )
            )
            self.changes.append(
                ServiceChange(
                    service=name,
                    action="replace",
                    reason=reason,
                    old_digest=current.digest if current else "",
                    new_digest=target.digest,
                )
            )
        running = [name for name, one in replaced.items() if one.is_alive]
        self._run("rollback", swaps, running, policy)
        return self.changes

    def _restored(
        self,
        declaration: NodeDeclaration,
        kept: Sequence[holding.Holder],
        containers: Mapping[str, InspectedContainer],
    ) -> dict[str, tuple[TargetContainer, str]]:
        """The containers to restore by service, each with the reason.

        Containers that have something of one of them are among them.
        """
        images = self._podman.images(
            {one.image_id for one in containers.values()}
        )
        restored = {}
        for holder in kept:
            old = holding.held(
                holder.name, containers.get(holder.name), images
            )
            reason = f"back to generation {holder.generation}"
            restored[holder.service] = old, reason
        replaced = [containers[n] for n in restored if n in containers]
        for service in declaration.select([]):
            current = containers.get(service.name)
            if current is None or service.name in restored:
                continue
            if reason := _bond(service, current, replaced):
                target = same_target(
                    current,
                    images.get(current.image_id),
                    {one.id: one.name for one in replaced},
                )
                restored[service.name] = target, reason
                replaced.append(current)
        return restored

    def _kept(
        self, names: Sequence[str], generation: int
    ) -> list[holding.Holder]:
        """The holders with what services go back to.

        :raises NotFound: when there is none for one of them.
        """
        containers = self._podman.containers()
        chosen = []
        for name in dict.fromkeys(names):
            kept = [
                one
                for one in holding.holders(containers, name)
                if generation in (0, one.generation)
            ]
            if not kept:
                problem = "no earlier container is kept"
                if generation:
                    problem = f"generation {generation} is not kept"
                raise errors.NotFound(
                    f"{name}: {problem}",
                    hint="look at: openstack image-prepare service history",
                )
            chosen.append(kept[0])
        return chosen

    def _change(self, one: PreparedService) -> ServiceChange:
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

    def _difference(
        self, one: PreparedService, current: InspectedContainer
    ) -> str:
        """The difference of a container from its declaration, or empty."""
        if not current.digests & one.image.digests:
            return "another image"
        if not current.is_alive:
            return "does not run"
        if one.owner.declares_options:
            return ""
        image = one.image.local or self._podman.image(current.image_id)
        adopted = adopting.adopt(current, image)
        if not adopting.same_container(one.service, adopted):
            return "other options"
        wanted = adopting.declared_environment(one.service, one.environment)
        if adopting.own_environment(current, image) != adopting.visible(
            wanted, image
        ):
            return "another environment"
        return ""

    def _check(self, one: PreparedService, options: UpgradeOptions) -> None:
        self._check_host(one.service, one.current)
        if one.current and not options.kill_survivors:
            preflight.check_survivors(one.service, one.current)

    def _check_version(self, one: PreparedService) -> None:
        if one.current and one.image.local:
            preflight.check_downgrade(
                one.service,
                one.current,
                self._podman.image(one.current.image_id),
                one.image.local,
                self._podman,
            )

    def _try_out(self, one: PreparedService) -> None:
        """Check that podman takes the specification."""
        if not one.owner.declares_options:
            holding.try_out(
                self._podman,
                self._state,
                one.service,
                one.image.pinned,
                one.environment,
            )

    def _swap(
        self,
        one: PreparedService,
        declaration: NodeDeclaration,
        policy: SwapPolicy,
        options: UpgradeOptions,
    ) -> ServiceSwap:
        def check() -> None:
            self._check(one, options)
            self._wait_for(one.service, policy.healthy_deadline)

        return ServiceSwap(
            one.target,
            one.current,
            one.owner,
            one.service.health,
            declaration.requirements(one.service.name),
            check,
        )


def _bond(
    service: Service,
    current: InspectedContainer,
    replaced: Iterable[InspectedContainer],
) -> str:
    """The reason why a container is replaced with others; empty for none."""
    for other in replaced:
        if other.id in current.dependencies:
            return f"shares namespaces of {other.name}"
        if (
            other.name in service.volume_origins
            and adopting.has_anonymous_volumes(other)
        ):
            return f"takes volumes from {other.name}"
    return ""
