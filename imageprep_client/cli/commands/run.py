"""``image-prepare run``: the main job."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from imageprep_client import errors, wording
from imageprep_client.cli import base, options, output, predecessor, report
from imageprep_client.observer import ImageOutcome
from imageprep_client.oci.platform import Platform

if TYPE_CHECKING:
    from imageprep_client.client.images import Row


class Run(base.Lister):
    """Prepare the images of a deployment and write the parameters.

    Reads ContainerImagePrepare from heat environments, discovers versioned
    tags, copies images to their push destinations, and writes a heat
    environment that names them. The table has one row per image, with its
    outcome and the bytes transferred.

    Parameters are written only when every image that they name is in place.

    Exit status: 0 if all images are in place, 1 if a failure occurred after
    something was stored or modified, 2 if nothing was changed.
    """

    replaced = predecessor.RUN

    columns = output.COPIES

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_inputs(parser)
        _add_outputs(parser)
        _add_copying(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import images

        request = options.request(
            images.PrepareRequest,
            parsed_args,
            **options.deployment(parsed_args),
            images_from=images.place(parsed_args.images_from)
            if parsed_args.images_from
            else None,
            part_size=parsed_args.split_size << 20,
            platforms=[Platform.parse(p) for p in parsed_args.platforms],
            referrers=images.ReferrersPolicy(parsed_args.referrers),
        )
        header = self.header()
        with self.observing() as observer:
            result = images.ContainerImages(
                options.registry_options(parsed_args)
            ).prepare(
                request,
                plan=options.plan(self, parsed_args),
                header=header,
                observer=observer,
            )
            for option in _ineffective(parsed_args, result.rows):
                observer.warning(
                    f"{option} has no effect: no entry has a push_destination,"
                    " so that all images are used where they are"
                )
        dry_run = parsed_args.dry_run
        self.report = images.report(result, dry_run=dry_run)
        self.page = images.report_page(result, header=header, dry_run=dry_run)
        if result.error:
            raise result.error
        if failures := result.all_failures:
            count, total = len(failures), len(result.rows)
            counted = "copies" if parsed_args.also_to else "images"
            kind = (
                errors.PartialFailure
                if observer.began
                else errors.CombinedFailure
            )
            self.failure = kind(
                f"{count} of {total} {counted} failed", failures
            )
        self.summary = output.summary(result.rows, dry_run=dry_run)
        self.next_step = _next_step(
            parsed_args,
            bool(result.failures),
            result.carried,
            result.plan_changed,
        )
        return output.copies(result.rows)


def _ineffective(
    parsed_args: argparse.Namespace, rows: Sequence[Row]
) -> list[str]:
    """The options about destinations of a run whose images have none."""
    if any(row.outcome != ImageOutcome.REFERENCED for row in rows):
        return []
    given = {
        "--image-serve": parsed_args.image_serve,
        "--also-to": parsed_args.also_to,
    }
    return [option for option, value in given.items() if value and rows]


def _next_step(
    parsed_args: argparse.Namespace,
    failed: bool,
    carried: int,
    plan_changed: bool,
) -> str:
    """The files that were written, and the next command."""
    path = parsed_args.output_env_file
    plan = parsed_args.plan or parsed_args.plan_dir
    if failed:
        named = path or plan
        return f"parameters not written to {named}" if named else ""
    written = {
        "parameters": path,
        "list of images": parsed_args.output_images_file,
        "credentials": parsed_args.ceph_vars_file,
    }
    places = [
        f"{what} written to {file}" for what, file in written.items() if file
    ]
    if parsed_args.dry_run:
        places.append("nothing was copied; next: run without --dry-run")
        return "; ".join(places)
    if plan_changed:
        places.append(f"parameters written into plan {plan}")
    if carried:
        places.append(
            f"{wording.size(carried)} written to {parsed_args.carry}; next,"
            " at the site: openstack image-prepare run --from"
            f" {shlex.quote(parsed_args.carry)}"
        )
    elif path:
        places.append(
            f"next: openstack overcloud deploy ... -e {shlex.quote(path)}"
        )
    return "; ".join(places)


def _add_inputs(parser: argparse.ArgumentParser) -> None:
    options.add_deployment_options(parser)
    options.add_plan_options(
        parser,
        "Deployment plan in the object store of the cloud: its environments"
        " and roles are read before the other files, and the parameters are"
        " written into it. Only this option needs authentication",
    )
    options.add_history_option(parser)


def _add_outputs(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output-env-file",
        metavar="<file>",
        help="Heat environment file to write the parameters to",
    )
    parser.add_argument(
        "--output-images-file",
        metavar="<file>",
        help="File to write the list of images to, as container_images, for"
        " filling a mirror such as Satellite",
    )
    parser.add_argument(
        "--pin-digests",
        action="store_true",
        help="Name images by digest instead of by tag in the parameters",
    )
    parser.add_argument(
        "--ceph-vars-file",
        metavar="<file>",
        help="File to write ceph_docker_registry_username and"
        " ceph_docker_registry_password to, the credentials for the registry"
        " in ceph_namespace",
    )
    report.add_option(parser)
    parser.add_argument(
        "--report-html",
        metavar="<file>",
        help="HTML file to write the report to, as one page with totals,"
        " failures by cause and the slowest images",
    )
    parser.add_argument(
        "--log-file", metavar="<file>", help="File to append a detailed log to"
    )


def _add_copying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--also-to",
        metavar="<registry>",
        action="append",
        help="Additional registry or directory to copy all images to in the"
        " same pass (repeatable): each source is read once, and a slow or"
        " failing destination does not delay the others. The parameters name"
        " the push destinations of the entries",
    )
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="Show which images would be copied, which are present and how"
        " many bytes would be transferred; write only the output file",
    )
    parser.add_argument(
        "--keep-going",
        action="store_true",
        help="Copy the remaining images when one fails",
    )
    parser.add_argument(
        "--recheck",
        action="store_true",
        help="Check every blob of the images that registries have. By"
        " default, images that were complete within the last day are not"
        " checked again",
    )
    parser.add_argument(
        "--platform",
        metavar="<os/architecture>",
        action="append",
        dest="platforms",
        help="Copy only this platform of multi-platform images, and the index"
        " unchanged (repeatable). By default, multi_arch of the entries"
        " selects all platforms or that of this host",
    )
    options.add_referrers_options(parser)
    options.add_nondistributable_option(parser)
    parser.add_argument(
        "--from",
        metavar="<place>",
        dest="images_from",
        help="Read all images from this location instead of the registries in"
        " their names: an archive made by --carry, or a registry,"
        " image-serve:DIRECTORY or oci:DIRECTORY filled by another run. The"
        " signature policy and the parameters use the names",
    )
    _add_carrying(parser)
    parser.add_argument(
        "--cleanup",
        choices=("full", "partial", "none"),
        default="full",
        help="Images to remove from the local storage of buildah and podman"
        " after modification: full: all, partial: only the images that were"
        " modified from, none: no image (default: full)",
    )
    options.add_tree_option(
        parser,
        ": every push destination is written there",
        "for a push destination that is",
    )
    options.add_image_timeout_option(parser)
    parser.add_argument(
        "--modify-concurrency",
        metavar="<number>",
        type=options.positive,
        default=0,
        help="Maximum number of images to modify at once (default: two for"
        " each processor)",
    )


def _add_carrying(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--carry",
        metavar="<file>",
        help="Write all images, unmodified, into this archive instead of to"
        " their destinations, for run --from at a site without a network."
        " Repeat the command to continue an interrupted run",
    )
    parser.add_argument(
        "--since",
        metavar="<file>",
        action="append",
        help="With --carry: leave out the layers that the site has already,"
        " according to an archive carried there before or to the --report of"
        " a run there (repeatable)",
    )
    parser.add_argument(
        "--split-size",
        metavar="<MiB>",
        type=options.positive,
        default=0,
        help="With --carry: split the archive into files of this size,"
        " <file>.000, <file>.001 and so on",
    )
