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

    Kept are the images that parameters of the given environments name,
    by tag or by digest, and the newest tags of each repository with
    --keep-last; with them the images of an index, and signatures and
    other artefacts that are attached to what is kept. Everything else
    goes: tags first, then manifests, then blobs.

    One row for each tag, or digest that no tag leads to, with the bytes
    that are free without it. A blob that something kept still needs
    counts nowhere.

    Exit status: 0 when all is done, 1 when a registry stopped half-way,
    2 when nothing was deleted, as while a run writes to the tree.
    """

    columns = ("Repository", "Name", "Bytes freed")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_place_options(parser)
        options.add_environment_option(
            parser,
            "Heat environment file whose images are kept (repeat for"
            " several; each counts)",
        )
        parser.add_argument(
            "--keep-last",
            metavar="<number>",
            type=options.positive,
            default=0,
            help="Keep this many of the newest tags of each repository",
        )
        parser.add_argument(
            "--dry-run",
            action="store_true",
            help="Show what would be deleted, and delete nothing",
        )
        confirmation.add_option(parser)
        options.add_concurrency_option(parser)
        options.add_registry_options(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.registries import PruneRequest, Registries

        request = PruneRequest(
            environment_files=parsed_args.environment_files,
            keep_last=parsed_args.keep_last,
            dry_run=parsed_args.dry_run,
            concurrency=parsed_args.concurrency,
        )
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
        if result.failure:
            self.failure = errors.PartialFailure(
                "not everything was deleted", [result.failure]
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
    amount = f"{_doomed(result)}:"
    amount += f" {result.size} bytes ({wording.size(result.size)})"
    if dry_run:
        amount += " would be freed"
    else:
        amount += " freed" if result.collected else " will be freed"
    if not result.collected:
        amount += " when the registry next collects its garbage"
    return f"{amount}, {wording.counted(result.kept, 'tag', 'tags')} kept"
