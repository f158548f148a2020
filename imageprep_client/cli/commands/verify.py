"""``image-prepare verify``: whether a registry or a tree is whole."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING

from imageprep_client import errors, wording
from imageprep_client.cli import base, columns, options, progress, report

if TYPE_CHECKING:
    from imageprep_client.client.registries import Verdict


class Verify(base.Lister):
    """Check the content of a registry or tree for completeness and integrity.

    Every manifest and every blob is read once, however many images share it,
    and compared with its digest. In a tree, tags, lists and headers are
    checked as well. The table has one row for each problem, with the tags
    that it affects.

    Nothing is written and no lock is taken. A run may write at the same time:
    content that it has written and not yet tagged is not reported as
    unreferenced.

    Exit status: 0 if there is no problem, 1 if content is broken, missing or
    unreferenced, 2 if the content could not be checked.
    """

    columns = ("Repository", "Name", "Problem", "Needed by")

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        options.add_place_options(parser)
        parser.add_argument(
            "--quick",
            action="store_const",
            const="sizes",
            default="digests",
            dest="blobs",
            help="Check only the existence and the sizes of blobs, and do not"
            " read them",
        )
        parser.add_argument(
            "--diff-ids",
            action="store_true",
            help="Also decompress the layers of every image and compare them"
            " with the diff IDs in its config",
        )
        options.add_registry_options(parser)
        report.add_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client.registries import BlobCheck, Registries

        registries = Registries(options.registry_options(parsed_args))
        with progress.Progress() as observer:
            verdict = registries.verify(
                parsed_args.registry_url,
                blobs=BlobCheck(parsed_args.blobs),
                diff_ids=parsed_args.diff_ids,
                observer=observer,
            )
        self.report = dataclasses.asdict(verdict)
        self.summary = _summary(verdict)
        if verdict.problems:
            count = wording.counted(len(verdict.problems), "problem")
            self.failure = errors.PartialFailure(
                f"{count} found", hint=verdict.remedy
            )
        return self.columns, (
            (
                problem.repository,
                columns.Digest(problem.name),
                problem.problem,
                columns.Names(problem.tags),
            )
            for problem in verdict.problems
        )


def _summary(verdict: Verdict) -> str:
    """The extent of a verification, in a line."""
    how = "read" if verdict.hashed else "looked at, not read"
    counts = (
        wording.counted(verdict.repositories, "repository", "repositories"),
        wording.counted(verdict.tags, "tag"),
        wording.counted(verdict.manifests, "manifest"),
    )
    blobs = wording.counted(verdict.blobs, "blob")
    text = f"{', '.join(counts)}; {blobs} {how}, {wording.size(verdict.size)}"
    if verdict.elsewhere:
        images = wording.counted(verdict.elsewhere, "image")
        text += f"; indexes name {images} for other platforms, not here"
    return text
