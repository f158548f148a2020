"""``image-prepare plan``: deployment plans, and what they deploy."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from cliff import columns

from imageprep_client import wording
from imageprep_client.cli import base, options, report

if TYPE_CHECKING:
    from imageprep_client.client.plans import Plan, Revision

#: Changes of a revision that a table shows.
_SHOWN = 10


class _OnePlan(base.Lister):
    """The options that name a plan."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "plan",
            metavar="<plan>",
            nargs="?",
            help="Name of a plan in the cloud",
        )
        parser.add_argument(
            "--plan-dir",
            metavar="<directory>",
            help="Directory of a plan, instead of a name",
        )
        options.add_history_option(parser)


class PlanList(base.Lister):
    """List deployment plans with the time of their last image preparation."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "--plan-dir",
            metavar="<directory>",
            action="append",
            dest="plan_dirs",
            help="Directory of a plan, or directory whose subdirectories are"
            " plans (repeatable), instead of the plans in the cloud",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import cloud, plans

        return ("Plan", "Kind", "Prepared"), (
            (plan.name, plan.kind, plan.time)
            for plan in plans.find_plans(
                parsed_args.plan_dirs, connect=lambda: cloud.connect(self)
            )
        )


class PlanShow(_OnePlan):
    """Show the images that a deployment plan deploys.

    The table has one row for each image parameter, with its value after the
    environments of the plan are merged.

    With --history, the table has one row for each time that image preparation
    wrote the parameters, the newest first, with the changes. With --diff, the
    table has the parameters that an environment file sets to other images
    than the plan.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument(
            "--history",
            action="store_true",
            help="Show the present and the kept earlier parameters, with the"
            " time, the command line and the changes of each. The table shows"
            f" the first {_SHOWN} changes, -f json shows all",
        )
        what.add_argument(
            "--diff",
            metavar="<file>",
            help="Heat environment file to compare with the plan",
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import plans

        plan = options.open_plan(self, parsed_args)
        if parsed_args.history:
            return ("Number", "State", "Time", "Command", "Changes"), [
                (
                    revision.number,
                    self._state(plan, revision),
                    revision.time,
                    revision.command,
                    _changes(revision),
                )
                for revision in plan.history()
            ]
        if parsed_args.diff:
            return ("Parameter", "Plan", "File"), [
                (change.parameter, change.old, change.new)
                for change in plans.difference(plan, parsed_args.diff)
            ]
        return ("Parameter", "Image"), plans.images(plan).items()

    def _state(self, plan: Plan, revision: Revision) -> str:
        """In a word; what is broken is told as well."""
        if revision.problem:
            self.tell(
                f"plan {plan.name}: number {revision.number} of the history"
                f" is broken: {revision.problem}"
            )
            return "broken"
        return "present" if revision.present else "kept"


class PlanRestore(_OnePlan):
    """Restore earlier image parameters of a deployment plan.

    The table has one row for each parameter that changes. The present
    parameters are kept in the history, so that a restore can be undone.

    Exit status: 0 if the plan has these parameters, 2 if nothing was written.
    """

    columns = ("Parameter", "Before", "Now")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--to",
            metavar="<number>",
            type=options.positive,
            help="Number of the parameters in plan show --history (default:"
            " the newest before the present ones)",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        plan = options.open_plan(self, parsed_args)
        revision, written = plan.restore(parsed_args.to, self.header())
        self.report = {
            "plan": plan.name,
            "number": revision.number,
            **dataclasses.asdict(written),
        }
        what = f"plan {plan.name}: number {revision.number} of the history"
        count = wording.counted(len(written.changes), "parameter")
        self.summary = (
            f"{what} restored: {count} changed"
            if written.changed
            else f"{what} equals the present parameters; nothing was written"
        )
        return self.columns, (
            (change.parameter, change.old, change.new)
            for change in written.changes
        )


class _Changes(columns.FormattableColumn[list[dict[str, str]] | None]):
    """The changes of a revision; None where they are not known."""

    def human_readable(self) -> str:
        if self._value is None:
            return "not known"
        if not self._value:
            return "none"
        if not any(change["old"] for change in self._value):
            return f"{len(self._value)} set"
        lines = [
            "{parameter}: {old} -> {new}".format_map(
                {name: text or "-" for name, text in change.items()}
            )
            for change in self._value
        ]
        more = len(lines) - _SHOWN
        if more > 0:
            lines[_SHOWN:] = [f"and {more} more"]
        return "\n".join(lines)


def _changes(revision: Revision) -> _Changes:
    if revision.changes is None:
        return _Changes(None)
    return _Changes(
        [dataclasses.asdict(change) for change in revision.changes]
    )
