"""``image-prepare service``: commands that change services."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from imageprep_client import wording
from imageprep_client.cli import base, columns, options, report
from imageprep_client.cli.commands.service import options as service_options

if TYPE_CHECKING:
    from imageprep_client.client.registry_options import RegistryOptions
    from imageprep_client.client.service import ServiceChange, ServiceNode


_CHANGES = ("Service", "Action", "Reason", "Old digest", "New digest")


class _ServiceCommand(base.Lister):
    """A command that changes services, and its report."""

    columns: Sequence[str] = _CHANGES

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        report.add_option(parser)

    @contextlib.contextmanager
    def changing(
        self, registries: RegistryOptions | None = None
    ) -> Iterator[ServiceNode]:
        """The node to change; a failure is reported as well."""
        from imageprep_client.client.service import ServiceNode, SwapOutcome

        with self.observing() as observer:
            node = ServiceNode(registries, observer)
            try:
                yield node
            except BaseException:
                if any(
                    one.outcome is not SwapOutcome.UNTOUCHED
                    for one in node.changes
                ):
                    self.report = {"services": _reported(node.changes)}
                raise

    def result(
        self, changes: Sequence[ServiceChange], done: str, **more: object
    ) -> base.Table:
        """Summarise and report changes.

        :param done: the verb of the summary.
        :param more: further fields of the report.
        """
        self.summary = _counted(changes, done)
        self.report = {**more, "services": _reported(changes)}
        return _CHANGES, (
            (
                one.service,
                one.action,
                one.reason,
                columns.Digest(one.old_digest),
                columns.Digest(one.new_digest),
            )
            for one in changes
        )


def _reported(changes: Sequence[ServiceChange]) -> list[dict[str, Any]]:
    return [dataclasses.asdict(one) for one in changes]


def _counted(changes: Sequence[ServiceChange], done: str) -> str:
    changed = [one for one in changes if one.action != "keep"]
    kept = len(changes) - len(changed)
    text = f"{wording.counted(len(changed), 'service')} {done}"
    return f"{text}, {kept} as declared" if kept else text


class ServiceUpgrade(_ServiceCommand):
    """Bring services of this node into their declared state.

    All images are pulled and verified first. Then one service after the other
    is stopped, replaced, started and checked, after the services that it
    depends on. If a service does not become healthy, the old containers are
    restored.

    Exit status: 0 if all services run as declared, 1 if something failed
    after the first stop, 2 if nothing was stopped.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        service_options.add_names(parser)
        service_options.add_inputs(parser)
        service_options.add_policy(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Show what would be done, and pull and stop nothing",
        )
        parser.add_argument(
            "--allow-downgrade",
            action="store_true",
            help="Accept images with an older version than the running one",
        )
        service_options.add_kill_survivors(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.service import UpgradeOptions

        registries = options.registry_options(parsed_args)
        with self.changing(registries) as node:
            changes = node.upgrade(
                service_options.inputs(self, parsed_args),
                parsed_args.names,
                service_options.policy(parsed_args),
                options.request(UpgradeOptions, parsed_args),
            )
        done = "would be replaced" if parsed_args.dry_run else "replaced"
        return self.result(changes, done, dry_run=parsed_args.dry_run)


class ServiceStart(_ServiceCommand):
    """Start services of this node in the order of their dependencies.

    A service is started when its wait_for succeeds, and must become healthy
    before the next one is started. Existing containers are started unchanged.

    Exit status: 0 if all services run, 1 if a service did not become healthy,
    2 if nothing was started.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        service_options.add_names(parser)
        service_options.add_inputs(parser)
        parser.add_argument(
            "--wait",
            metavar="<seconds>",
            type=service_options.seconds,
            default=300.0,
            help="Maximum time for wait_for of a service to succeed, and for"
            " the service to become healthy (default: %(default)g)",
        )
        options.add_registry_options(parser)
        options.add_policy_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.service import SwapPolicy

        registries = options.registry_options(parsed_args)
        with self.changing(registries) as node:
            changes = node.start(
                service_options.inputs(self, parsed_args),
                parsed_args.names,
                SwapPolicy(healthy_deadline=parsed_args.wait),
            )
        return self.result(changes, "started")


class ServiceRollback(_ServiceCommand):
    """Restore earlier containers of services.

    A container is restored with its earlier image, options and environment.
    No registry is needed.

    Exit status: 0 if the earlier containers run, 1 if something failed after
    the first stop, 2 if nothing was stopped.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        service_options.add_names(parser, "+")
        parser.add_argument(
            "--to",
            metavar="<generation>",
            type=options.positive,
            default=0,
            help="Generation to restore, as shown by service history"
            " (default: the newest kept generation)",
        )
        service_options.add_policy(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        with self.changing() as node:
            changes = node.rollback(
                parsed_args.names,
                parsed_args.to,
                service_options.policy(parsed_args),
            )
        return self.result(changes, "restored")


class ServiceRecover(_ServiceCommand):
    """Repair what a killed command left behind.

    Every command that changes services does this first.
    """

    columns = ("Service",)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        with self.changing() as node:
            names = node.recover()
        self.report = {"services": names}
        self.summary = f"{wording.counted(len(names), 'service')} repaired"
        return self.columns, ((name,) for name in names)


class ServiceStop(_ServiceCommand):
    """Stop services of this node, each before those that it depends on.

    Exit status: 0 if none of the services runs, 1 if a service could not be
    stopped, 2 if nothing was stopped.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        service_options.add_names(parser)
        service_options.add_declaration(parser)
        service_options.add_kill_survivors(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        with self.changing() as node:
            changes = node.stop(
                parsed_args.declaration,
                parsed_args.names,
                kill_survivors=parsed_args.kill_survivors,
            )
        return self.result(changes, "stopped")
