"""Commands that change roots: replace, rollback, delete and clone."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from imageprep_client import errors, wording
from imageprep_client.cli import base, columns, confirmation, options, report
from imageprep_client.cli.commands.machine import arguments

if TYPE_CHECKING:
    from imageprep_client.client.machine.changes import (
        Patience,
        ReplaceOutcome,
        SwapResult,
    )


def add_wait_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for stopping and starting a machine."""
    parser.add_argument(
        "--wait",
        metavar="<seconds>",
        type=options.positive,
        default=60,
        help="Maximum time until the machine runs, has its addresses and"
        " passes the check (default: %(default)s)",
    )
    parser.add_argument(
        "--check",
        metavar="<command>",
        help="Shell command, run on this host, that succeeds when the machine"
        " named in $MACHINE is healthy; it is repeated until it succeeds",
    )
    parser.add_argument(
        "--stop-timeout",
        metavar="<seconds>",
        type=options.positive,
        default=60,
        help="Maximum time for the machine to shut down before it is killed"
        " (default: %(default)s)",
    )


def patience(parsed_args: argparse.Namespace) -> Patience:
    """The values of `add_wait_options`."""
    from imageprep_client.client.machine import changes

    return changes.Patience(
        stop=parsed_args.stop_timeout, start=float(parsed_args.wait)
    )


def outage(swap: SwapResult) -> str:
    """The outage of the machine, for the summary."""
    if swap.outage is None:
        return "the machine is stopped, as before"
    return f"stopped for {wording.duration(swap.outage)}"


class MachineReplace(base.Lister):
    """Replace the root of a machine by an image.

    The image is verified and unpacked beside the current root. Identity,
    secrets, logs and data, which an export leaves out, are carried over from
    the current root. The machine is stopped, the two roots are exchanged in
    one step, and the machine is started. If it does not become healthy, the
    old root is restored. Several machines are replaced one after the other,
    and their image is fetched once; one that does not exist or cannot be
    replaced does not delay the others.

    Exit status: 0 if all machines run with the image, 1 if some were not
    replaced, 2 if nothing was changed.
    """

    failing = "machine"
    columns = (
        *("Name", "State", "Digest", "Outage", "Carried", "Kept"),
        "Detail",
    )

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        from imageprep_client.client.machine import changes

        parser.add_argument(
            "names", metavar="<name>", nargs="+", help="Name of the machine"
        )
        arguments.add_store_option(parser)
        arguments.add_source_options(
            parser, "Image or archive to use, verified as by machine import"
        )
        parser.add_argument(
            "--keep",
            metavar="<number>",
            type=_count,
            default=changes.KEEP,
            help="Number of earlier roots to keep for machine rollback"
            " (default: %(default)s)",
        )
        add_wait_options(parser)
        parser.add_argument(
            "--carry",
            metavar="<path>",
            action="append",
            help="Additional path in the machine to carry over (repeatable)",
        )
        parser.add_argument(
            "--no-carry",
            action="store_true",
            help="Do not carry anything over",
        )
        parser.add_argument(
            "--fresh-identity",
            action="store_true",
            help="Give the machine a new identity; everything else is carried"
            " over",
        )
        parser.add_argument(
            "--skip-present",
            action="store_true",
            help="Skip machines whose root is already this image",
        )
        options.add_registry_options(parser)
        options.add_policy_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.machine import changes

        found = changes.find(parsed_args.names, parsed_args.store)
        failed = [
            one for one in found if isinstance(one, changes.ReplaceOutcome)
        ]
        if len(failed) == len(found):
            return self._table(failed, errors.CombinedFailure)
        request = options.request(
            changes.ReplaceRequest,
            parsed_args,
            patience=patience(parsed_args),
            carries=not parsed_args.no_carry,
        )
        with (
            self.observing() as observer,
            changes.open_source(
                arguments.source(parsed_args),
                observer,
                lambda digest: (
                    not (
                        parsed_args.skip_present
                        and changes.have(found, digest)
                    )
                ),
            ) as source,
        ):
            outcomes = list(
                changes.replace(
                    found,
                    source,
                    request,
                    observer,
                    skip_present=parsed_args.skip_present,
                )
            )
        self.report = {
            "source": source.name,
            "digest": source.digest,
            "machines": [_reported(one) for one in outcomes],
        }
        done = [one.replaced for one in outcomes if one.replaced]
        if len(done) == len(outcomes) == 1:
            told = f"{outcomes[0].name} replaced, {outage(done[0].swap)},"
        else:
            told = f"{wording.counted(len(done), 'machine')} replaced"
        self.summary = f"{source.name}: {told}"
        present = [
            one for one in outcomes if not (one.replaced or one.failure)
        ]
        if present:
            self.summary += f", {len(present)} already had it"
        names = [
            one.name
            for one in outcomes
            if one.replaced and one.replaced.swap.archived
        ]
        if names:
            self.next_step = _undo(
                names[0] if len(names) == 1 else "NAME", parsed_args.store
            )
        return self._table(outcomes)

    def _table(
        self,
        outcomes: Sequence[ReplaceOutcome],
        failure: type[errors.CombinedFailure] = errors.PartialFailure,
    ) -> base.Table:
        """A row for each machine, and the failures.

        :raises ImagePrepError: that of the only machine.
        """
        failures = [one.failure for one in outcomes if one.failure]
        if failures and len(outcomes) == 1:
            raise failures[0]
        if failures:
            self.failure = failure(
                f"{len(failures)} of {len(outcomes)} machines not replaced",
                failures,
            )
        rows = []
        for fields in map(_fields, outcomes):
            digest, away = fields["digest"], fields["outage"]
            fields["digest"] = columns.Digest(digest) if digest else ""
            fields["outage"] = columns.Duration(away)
            rows.append(tuple(fields.values()))
        return self.columns, rows


def _undo(name: str, store: str | None) -> str:
    """The command that exchanges the roots of a machine again."""
    place = f" --store {shlex.quote(store)}" if store else ""
    return (
        f"undo it with: openstack image-prepare machine rollback {name}{place}"
    )


def _count(text: str) -> int:
    """A number from 0 on, for argparse."""
    return 0 if text == "0" else options.positive(text)


def _reported(outcome: ReplaceOutcome) -> Mapping[str, Any]:
    """One machine in a report: its row, and the figures in full."""
    replaced = outcome.replaced
    return {
        **_fields(outcome),
        "added": replaced.swap.added if replaced else None,
        "carried_size": replaced.carried_size if replaced else 0,
    }


def _fields(outcome: ReplaceOutcome) -> dict[str, Any]:
    """One machine by the columns of the table."""
    replaced = outcome.replaced
    archived = replaced.swap.archived if replaced else None
    state = "failed" if outcome.failure else "present"
    return {
        "name": outcome.name,
        "state": "replaced" if replaced else state,
        "digest": outcome.digest,
        "outage": replaced.swap.outage if replaced else None,
        "carried": replaced.carried if replaced else 0,
        "kept": archived.name if archived else "",
        "detail": str(outcome.failure or ""),
    }


class MachineRollback(base.ShowOne):
    """Restore an earlier root of a machine.

    The machine is stopped, the two roots are exchanged in one step, and the
    machine is started. If it does not become healthy, the current root is
    restored. Otherwise the current root is kept as a version.

    Exit status: 0 if the machine runs with the earlier root, 1 if the current
    root was restored, 2 if nothing was changed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_name(parser)
        arguments.add_store_option(parser)
        parser.add_argument(
            "--to",
            metavar="<version>",
            help="Version to restore, as shown by machine list (default: the"
            " newest)",
        )
        add_wait_options(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Fields:
        from imageprep_client.client import machine
        from imageprep_client.client.machine import changes

        root = machine.find(parsed_args.name, parsed_args.store)
        with self.observing() as observer:
            version, swap = changes.of(root, observer).rollback(
                parsed_args.to, parsed_args.check, patience(parsed_args)
            )
        fields = {
            "name": root.name,
            "version": version,
            "kept": str(swap.archived or ""),
            "outage": swap.outage,
        }
        self.report = fields
        self.summary = f"{root.name}: {version} restored, {outage(swap)},"
        self.next_step = _undo(root.name, parsed_args.store)
        shown = {**fields, "outage": columns.Duration(swap.outage)}
        return tuple(shown), tuple(shown.values())


class MachineDelete(base.Command):
    """Delete a machine with all its versions, or a single version.

    A running machine is not deleted, and neither is a base that overlays of
    other containers need.

    Exit status: 0 if the machine or version was deleted, 2 if nothing was
    changed.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        arguments.add_name(parser)
        arguments.add_store_option(parser)
        parser.add_argument(
            "--version",
            metavar="<version>",
            help="Version to delete instead of the machine",
        )
        confirmation.add_option(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> int:
        from imageprep_client.client import machine
        from imageprep_client.client.machine import changes

        words = parsed_args.name, parsed_args.store
        try:
            root = machine.find(*words)
        except errors.InputError:
            if parsed_args.version or not changes.finish_deletion(*words):
                raise
            self.summary = f"{parsed_args.name}: an earlier deletion completed"
            return 0
        what = f"the machine {root.name} with all kept versions"
        if parsed_args.version:
            what = f"{root.name}: the version {parsed_args.version}"
        if not parsed_args.yes:
            confirmation.ask(f"Delete {what}", what)
        with self.observing() as observer:
            changes.of(root, observer).delete(parsed_args.version)
        self.report = {"name": root.name, "version": parsed_args.version}
        self.summary = f"{what}: deleted"
        return 0


class MachineClone(base.Lister):
    """Make new machines with copies of a root.

    A copy is a snapshot on btrfs, an overlay if the base is an LXC container
    in a directory, and a full copy elsewhere. Each clone gets its own machine
    ID and host name and nothing else of the identity of the base. Quotas are
    not enabled.

    Exit status: 0 if all clones were made, 1 if some were made, 2 if none was
    made.
    """

    columns = ("Name", "Method", "Path")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "base", metavar="<base>", help="Name of a stopped machine"
        )
        parser.add_argument(
            "names",
            metavar="<name>",
            nargs="+",
            help="Names of the new machines",
        )
        arguments.add_store_option(parser)
        parser.add_argument(
            "--settings",
            metavar="<file>",
            help="Declaration from which the settings of each clone are"
            " written",
        )
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import machine
        from imageprep_client.client.machine import changes

        root = machine.find(parsed_args.base, parsed_args.store)
        rows: list[Sequence[Any]] = []
        clones = changes.clone(root, parsed_args.names, parsed_args.settings)
        try:
            for made in clones:
                rows.append((made.name, str(made.method), str(made.path)))
        except errors.ImagePrepError as error:
            if not rows:
                raise
            self.failure = errors.PartialFailure(
                f"{len(rows)} of {len(parsed_args.names)} clones made", [error]
            )
        keys = ("name", "method", "path")
        self.report = {
            "base": root.name,
            "clones": [dict(zip(keys, row, strict=True)) for row in rows],
        }
        count = wording.counted(len(rows), "clone")
        self.summary = f"{root.name}: {count} made"
        return self.columns, rows
