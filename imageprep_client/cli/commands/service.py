"""``image-prepare service``: service containers on this node."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from osc_lib.i18n import _

from imageprep_client import wording
from imageprep_client.cli import base, columns, options

if TYPE_CHECKING:
    from imageprep_client.client.service import (
        ServiceChange,
        ServiceInputs,
        ServiceNode,
        SwapPolicy,
    )
    from imageprep_client.observer import Observer


def _seconds(text: str) -> float:
    """A number of seconds, for argparse."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < 1e6:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


def _add_names(parser: argparse.ArgumentParser, nargs: str = "*") -> None:
    parser.add_argument(
        "names",
        metavar="<service>",
        nargs=nargs,
        help=_("Services, by name (default: all that are declared)")
        if nargs == "*"
        else _("Services, by name"),
    )


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--declaration",
        metavar="<file>",
        default=None,
        help=_("Declaration of the services (default: the last applied one)"),
    )
    parser.add_argument(
        "-e",
        "--environment-file",
        metavar="<file>",
        action="append",
        dest="environment_files",
        default=[],
        help=_(
            "Heat environment file with the parameters that the declaration"
            " names (repeat for several; later ones win)"
        ),
    )
    plan = parser.add_mutually_exclusive_group()
    plan.add_argument(
        "--plan",
        metavar="<plan>",
        default="",
        help=_("Deployment plan in the cloud; its environments come first"),
    )
    plan.add_argument(
        "--plan-dir",
        metavar="<directory>",
        default="",
        help=_("The same for a plan in a directory"),
    )


def _add_policy(parser: argparse.ArgumentParser) -> None:
    from imageprep_client.client.service import OnFailure, SwapPolicy

    policy = SwapPolicy()
    parser.add_argument(
        "--min-healthy",
        metavar="<seconds>",
        type=_seconds,
        default=policy.min_healthy,
        help=_(
            "Seconds that a service must be healthy before the next one is"
            " touched (default: %(default)g)"
        ),
    )
    parser.add_argument(
        "--healthy-deadline",
        metavar="<seconds>",
        type=_seconds,
        default=policy.healthy_deadline,
        help=_(
            "Seconds after which a service that is not healthy is given up"
            " (default: %(default)g)"
        ),
    )
    parser.add_argument(
        "--on-failure",
        choices=[str(one) for one in OnFailure],
        default=str(policy.on_failure),
        help=_(
            "revert-all: put the old containers of all services back"
            " (default); revert-one: only that of the one that failed; stop:"
            " leave everything as it is then"
        ),
    )
    parser.add_argument(
        "--keep",
        metavar="<number>",
        type=options.positive,
        default=policy.keep,
        help=_(
            "Earlier containers of each service that stay for a rollback"
            " (default: %(default)d)"
        ),
    )


def _policy(parsed_args: argparse.Namespace) -> SwapPolicy:
    from imageprep_client.client.service import OnFailure, SwapPolicy

    return SwapPolicy(
        min_healthy=parsed_args.min_healthy,
        healthy_deadline=parsed_args.healthy_deadline,
        on_failure=OnFailure(parsed_args.on_failure),
        keep=parsed_args.keep,
    )


class _ServiceCommand(base.Lister):
    """Knows the node."""

    def node(
        self, parsed_args: argparse.Namespace, observer: Observer
    ) -> ServiceNode:
        """The node that is changed."""
        from imageprep_client.client.service import ServiceNode

        return ServiceNode(options.registry_options(parsed_args), observer)

    def inputs(self, parsed_args: argparse.Namespace) -> ServiceInputs:
        """What `_add_inputs` says."""
        from imageprep_client.client import cloud, plans
        from imageprep_client.client.service import ServiceInputs

        plan = None
        if parsed_args.plan or parsed_args.plan_dir:
            plan = plans.open_plan(
                parsed_args.plan,
                directory=parsed_args.plan_dir,
                connect=lambda: cloud.connect(self),
            )
        return ServiceInputs(
            declaration=parsed_args.declaration,
            environment_files=parsed_args.environment_files,
            plan=plan,
        )


_CHANGES = ("Service", "Action", "Reason", "Old digest", "New digest")


def _table(
    changes: Sequence[ServiceChange],
) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
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


def _counted(changes: Sequence[ServiceChange], done: str) -> str:
    changed = [one for one in changes if one.action != "keep"]
    kept = len(changes) - len(changed)
    text = f"{wording.counted(len(changed), 'service')} {done}"
    return f"{text}, {kept} as declared" if kept else text


class ServiceUpgrade(_ServiceCommand):
    """Let services of this node run as they are declared.

    All images are pulled and verified first. Then one service after the
    other is stopped, replaced, started and watched, each after those that it
    depends on. When one does not get healthy the old containers are put
    back.

    Exit status: 0 when all run as declared, 1 when something failed after
    the first stop, 2 when nothing was stopped.
    """

    columns = _CHANGES

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_names(parser)
        _add_inputs(parser)
        _add_policy(parser)
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help=_("Show what would be done; nothing is pulled or stopped"),
        )
        parser.add_argument(
            "--allow-downgrade",
            action="store_true",
            help=_("Take images whose version is older than the running one"),
        )
        parser.add_argument(
            "--kill-survivors",
            action="store_true",
            help=_(
                "Stop services even if that ends processes that the"
                " declaration wants to survive"
            ),
        )
        options.add_registry_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        with self.observing() as observer:
            changes = self.node(parsed_args, observer).upgrade(
                self.inputs(parsed_args),
                parsed_args.names,
                _policy(parsed_args),
                dry_run=parsed_args.dry_run,
                kill_survivors=parsed_args.kill_survivors,
                allow_downgrade=parsed_args.allow_downgrade,
            )
        done = "would be replaced" if parsed_args.dry_run else "replaced"
        self.summary = _counted(changes, done)
        return _table(changes)


class ServiceStart(_ServiceCommand):
    """Start services of this node in the order of their dependencies.

    Each is started when what it waits for answers, and has to get healthy
    before the next one. Containers that exist are started as they are.

    Exit status: 0 when all run, 1 when one did not get healthy, 2 when
    nothing was started.
    """

    columns = _CHANGES

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_names(parser)
        _add_inputs(parser)
        parser.add_argument(
            "--wait",
            metavar="<seconds>",
            type=_seconds,
            default=300.0,
            help=_(
                "Seconds for what a service waits for, and for it to get"
                " healthy (default: %(default)g)"
            ),
        )
        options.add_registry_options(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from imageprep_client.client.service import SwapPolicy

        with self.observing() as observer:
            changes = self.node(parsed_args, observer).start(
                self.inputs(parsed_args),
                parsed_args.names,
                SwapPolicy(healthy_deadline=parsed_args.wait),
            )
        self.summary = _counted(changes, "started")
        return _table(changes)


class ServiceRollback(_ServiceCommand):
    """Put the containers back that services had before.

    With their options, their image and their environment of then; no
    registry is needed.

    Exit status: 0 when they run, 1 when something failed after the first
    stop, 2 when nothing was stopped.
    """

    columns = _CHANGES

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        _add_names(parser, "+")
        parser.add_argument(
            "--to",
            metavar="<generation>",
            type=options.positive,
            default=0,
            help=_(
                "Generation that service history shows (default: the newest"
                " that is kept)"
            ),
        )
        _add_policy(parser)
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from imageprep_client.client.service import ServiceNode

        with self.observing() as observer:
            changes = ServiceNode(observer=observer).rollback(
                parsed_args.names, parsed_args.to, _policy(parsed_args)
            )
        self.summary = _counted(changes, "put back")
        return _table(changes)


class ServiceRecover(base.Lister):
    """Put right what a killed command has left.

    Every command that changes services begins with this.
    """

    columns = ("Service",)

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from imageprep_client.client.service import ServiceNode

        with self.observing() as observer:
            names = ServiceNode(observer=observer).recover()
        self.summary = f"{wording.counted(len(names), 'service')} put right"
        return self.columns, ((name,) for name in names)


class ServiceHistory(base.Lister):
    """Show what was done with services of this node, the newest first."""

    columns = (
        "Time",
        "Service",
        "Action",
        "Outcome",
        "Generation",
        "Old digest",
        "New digest",
        "Reason",
    )

    def get_parser(self, prog_name: str) -> argparse.ArgumentParser:
        parser = super().get_parser(prog_name)
        parser.add_argument(
            "name",
            metavar="<service>",
            nargs="?",
            help=_("Only this service"),
        )
        return parser

    def take_action(
        self, parsed_args: argparse.Namespace
    ) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
        from imageprep_client.client.service import ServiceNode

        return self.columns, (
            (
                one.time,
                one.service,
                one.action,
                one.outcome,
                one.generation or "",
                columns.Digest(one.old_digest),
                columns.Digest(one.new_digest),
                columns.Hidden(one.reason),
            )
            for one in ServiceNode().history(parsed_args.name or "")
        )
