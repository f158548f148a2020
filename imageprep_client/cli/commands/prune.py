"""``image-prepare prune``: images that no environment names, deleted."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from imageprep_client import errors, wording
from imageprep_client.cli import (
    base,
    columns,
    confirmation,
    options,
    progress,
    report,
)

if TYPE_CHECKING:
    from imageprep_client.client.registries import PruneResult


class Prune(base.Lister):
    """Delete the images that no environment names.

    The images that parameters of the given environments name by tag or
    digest are kept, and with --keep-last the newest tags of each repository.
    The images of a kept index, and signatures and other artifacts that are
    attached to kept images, are kept as well. Everything else is deleted:
    tags first, then manifests, then blobs.

    The table has one row for each tag, and for each digest that no tag leads
    to, with the bytes that its deletion frees. Blobs that kept images use are
    not counted.

    Exit status: 0 if everything was deleted, 1 if the deletion stopped
    half-way, 2 if nothing was deleted, for example because a run writes to
    the tree.
    """

    columns = ("Repository", "Name", "Bytes freed")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_place_options(parser, writes=True)
        options.add_environment_option(
            parser, "Heat environment file whose images are kept (repeatable)"
        )
        parser.add_argument(
            "--keep-last",
            metavar="<number>",
            type=options.positive,
            default=0,
            help="Number of newest tags of each repository to keep",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Show what would be deleted, and delete nothing",
        )
        confirmation.add_option(parser)
        options.add_registry_options(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.registries import PruneRequest, Registries

        request = options.request(PruneRequest, parsed_args)
        registries = Registries(options.registry_options(parsed_args))
        place = parsed_args.registry_url
        if not parsed_args.yes and not parsed_args.dry_run:
            rehearsal = dataclasses.replace(request, dry_run=True)
            with progress.Progress() as observer:
                result = registries.prune(rehearsal, place, observer=observer)
            if result.rows:
                confirmation.ask(
                    f"Delete {_doomed(result)}, keep"
                    f" {wording.counted(result.kept, 'tag')}",
                    "nothing was deleted",
                )
        with self.observing() as observer:
            result = registries.prune(request, place, observer=observer)
        self.report = {
            "dry_run": parsed_args.dry_run,
            "deleted": list(map(dataclasses.asdict, result.rows)),
            "size": result.size,
            "kept": result.kept,
            "collected": result.collected,
        }
        self.summary = _balance(result, dry_run=parsed_args.dry_run)
        if parsed_args.dry_run and result.rows:
            self.next_step = "next: prune without --dry-run"
        if result.failures:
            self.failure = errors.PartialFailure(
                "not everything was deleted", result.failures
            )
        return self.columns, (
            (row.repository, columns.Digest(row.name), columns.Size(row.size))
            for row in result.rows
        )


def _doomed(result: PruneResult) -> str:
    return wording.counted(
        len(result.rows), "tag or manifest", "tags and manifests"
    )


def _balance(result: PruneResult, *, dry_run: bool) -> str:
    """The space that became free, in a line."""
    amount = f"{_doomed(result)}: {wording.size(result.size)}"
    if dry_run:
        amount += " would be freed"
    else:
        amount += " freed" if result.collected else " will be freed"
    if not result.collected:
        amount += " when the registry next collects its garbage"
    return f"{amount}, {wording.counted(result.kept, 'tag', 'tags')} kept"
