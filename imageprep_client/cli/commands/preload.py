"""``image-prepare preload``: images on the nodes of an inventory."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from imageprep_client import errors, wording
from imageprep_client.cli import base, columns, nodes, options, report

if TYPE_CHECKING:
    from imageprep_client.client.preload import (
        Preloading,
        PreloadRequest,
        PreloadResult,
        SiteRow,
    )
    from imageprep_client.observer import Observer

_COLUMNS = (
    "Host",
    "Registry",
    "State",
    "Images",
    "In Place",
    "Lacked",
    "Free",
    "Seconds",
    "Error",
)
_MEBIBYTE = 1024 * 1024


class _Preload(base.Lister):
    """The options and the table of the commands that look at nodes."""

    columns = _COLUMNS
    dry_run = False

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        _add_demand(parser)
        _add_nodes(parser)
        options.add_registry_options(parser)
        options.add_policy_option(parser)

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import preload

        request = self._request(parsed_args)
        preloading = preload.Preloading(options.registry_options(parsed_args))
        shown = nodes.Nodes(lambda line: observer.note(line))
        with self.observing(shown.table) as observer:
            if _names_deployment(parsed_args):
                preloading, request = self._of_deployment(
                    parsed_args, preloading, request, observer
                )
            result = preloading.preload(
                request,
                observer=observer,
                on_node=shown.note,
                dry_run=self.dry_run,
            )
        # Until now images failed.
        self.failing = "node"
        self.report = preload.report_fields(result, dry_run=self.dry_run)
        self.failure = _failure(
            result,
            errors.CombinedFailure if self.dry_run else errors.PartialFailure,
        )
        for row in result.sites:
            self.tell(_site(row, "to copy" if self.dry_run else "copied"))
        self.summary = _summary(result)
        self.next_step = _next_step(result)
        return _table(result)

    def _request(self, parsed_args: argparse.Namespace) -> PreloadRequest:
        from imageprep_client.client import preload

        if parsed_args.groups and not _names_deployment(parsed_args):
            raise errors.InvalidArgument(
                "--group: the roles are those of a deployment; name it by -e,"
                " --plan or --plan-dir"
            )
        if not parsed_args.images and not _names_deployment(parsed_args):
            raise errors.InvalidArgument(
                "no images: name a deployment by -e, --plan or --plan-dir, or"
                " lists by --images <group>=<file>"
            )
        return options.request(
            preload.PreloadRequest,
            parsed_args,
            lists=preload.lists(parsed_args.images),
            others=(),
            sites=preload.sites(parsed_args.sites),
            rate=parsed_args.rate * _MEBIBYTE,
        )

    def _of_deployment(
        self,
        parsed_args: argparse.Namespace,
        preloading: Preloading,
        request: PreloadRequest,
        observer: Observer,
    ) -> tuple[Preloading, PreloadRequest]:
        """The request with the images of a deployment."""
        from imageprep_client.client import images, preload

        return preloading.of_deployment(
            request,
            images.PrepareRequest(**options.deployment(parsed_args)),
            groups=preload.pairs("--group", parsed_args.groups),
            plan=options.plan(self, parsed_args),
            observer=observer,
        )


def _next_step(result: PreloadResult) -> str:
    """The time that a run would take, or the remedy for a failure."""
    if estimate := result.estimate:
        if not estimate.seconds and not result.failed:
            return "nothing is missing; nothing was changed"
        waves = wording.counted(estimate.waves, "wave")
        spent = wording.duration(estimate.seconds)
        return (
            f"a run would take about {spent} in {waves}; nothing was changed;"
            " next: openstack image-prepare preload run with these options"
        )
    return "the next run does what is missing" if result.failed else ""


class PreloadRun(_Preload):
    """Let the nodes of an inventory pull their images before a deployment.

    The registries of sites are filled first; each blob is read from its
    source once. Then each node pulls missing images by digest, from its site
    or from the registries in the names, and tags them with the names that the
    deployment uses. One command starts a program on a node, regardless of the
    number of images. A node pulls nothing unless twice the missing bytes are
    free on its disk. A site or node that fails does not delay the others, and
    the next call continues with what is missing.

    Exit status: 0 if all nodes have their images, 1 if a node does not, 2 if
    nothing was changed.
    """


class PreloadPlan(_Preload):
    """Show what a preload would copy to sites and nodes.

    Sites and nodes are checked, and nothing is changed.
    """

    dry_run = True


class PreloadStatus(base.Lister):
    """Show the report of a preload, node by node."""

    columns = _COLUMNS
    failing = "node"

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument(
            "path", metavar="<report>", help="File of --report"
        )

    def take_action(self, parsed_args: argparse.Namespace) -> base.Table:
        from imageprep_client.client import preload

        result = preload.status(parsed_args.path)
        self.failure = _failure(result, errors.PartialFailure)
        return _table(result)


def _names_deployment(parsed_args: argparse.Namespace) -> bool:
    return bool(
        parsed_args.environment_files
        or parsed_args.environment_directories
        or parsed_args.plan
        or parsed_args.plan_dir
    )


def _table(
    result: PreloadResult,
) -> tuple[Sequence[str], Iterable[Sequence[Any]]]:
    return _COLUMNS, [
        (
            row.host,
            row.registry,
            str(row.state),
            row.images,
            columns.Number(row.in_place),
            columns.Size(row.missing),
            columns.Hidden(row.free),
            columns.Hidden(row.seconds),
            columns.Hidden(row.error),
        )
        for row in result.nodes
    ]


def _failure(
    result: PreloadResult, kind: type[errors.CombinedFailure]
) -> errors.CombinedFailure | None:
    """One error for each image of a site, and for each node."""
    sites = [
        errors.PreloadError(f"site {row.registry}: {name}: {reason}")
        for row in result.sites
        for name, reason in row.failures.items()
    ]
    nodes = [
        errors.PreloadError(f"{row.host}: {reason}")
        for row in result.failed
        for reason in dict.fromkeys(
            [*row.failures.values(), *filter(None, [row.error])]
        )
    ]
    if not sites and not nodes:
        return None
    count, total = len(result.failed), len(result.nodes)
    return kind(f"{count} of {total} nodes failed", [*sites, *nodes])


def _site(row: SiteRow, done: str) -> str:
    """A line for a site.

    :param done: what is said of the bytes that it lacked.
    """
    failed = f", {len(row.failures)} failed" if row.failures else ""
    return (
        f"site {row.registry}: {wording.counted(row.images, 'image')} for"
        f" {wording.counted(row.nodes, 'node')}, {wording.size(row.copied)}"
        f" {done}, {wording.size(row.kept)} there before{failed}"
    )


def _summary(result: PreloadResult) -> str:
    counts = wording.tally(row.state for row in result.nodes)
    copied = sum(row.copied for row in result.sites)
    missing = sum(row.missing or 0 for row in result.nodes)
    sites = wording.counted(len(result.sites), "site")
    return (
        f"{wording.counted(len(result.nodes), 'node')}: {counts};"
        f" {wording.size(copied)} to {sites}, {wording.size(missing)} to nodes"
    )


def _add_demand(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--inventory",
        metavar="<inventory>",
        action="append",
        dest="inventories",
        required=True,
        help="Ansible inventory: a file, a directory or a program"
        " (repeatable)",
    )
    parser.add_argument(
        "--hosts",
        metavar="<pattern>",
        help="Ansible host pattern that selects some of the hosts",
    )
    options.add_deployment_options(parser)
    options.add_plan_options(
        parser,
        "Deployment plan in the object store of the cloud: its environments"
        " and roles are read before the other files. Only this option needs"
        " authentication",
    )
    parser.add_argument(
        "--group",
        metavar="<group>=<role>",
        action="append",
        dest="groups",
        help="Role of the hosts of a group; they get the images of its"
        " services (repeatable)",
    )
    parser.add_argument(
        "--images",
        metavar="<group>=<file>",
        action="append",
        help="Images of a group, one per line (repeatable). A host in several"
        " groups gets the images of all of them; a host in no listed group"
        " gets every image",
    )
    parser.add_argument(
        "--site",
        metavar="<group>=<registry>",
        action="append",
        dest="sites",
        help="Registry that is filled first and from which the hosts of a"
        " group pull (repeatable). Other hosts pull from the registries in"
        " the names of the images",
    )


def _add_nodes(parser: argparse.ArgumentParser) -> None:
    from imageprep_client.client import preload

    parser.add_argument(
        "--nodes-per-registry",
        metavar="<number>",
        type=options.positive,
        default=preload.NODES_PER_REGISTRY,
        help="Maximum number of nodes that pull from one registry at the same"
        " time (default: %(default)s)",
    )
    parser.add_argument(
        "--rate",
        metavar="<MiB>",
        type=options.positive,
        default=0,
        help="Maximum rate in MiB per second at which the nodes of a registry"
        " pull together, in equal shares (default: no limit)",
    )
    parser.add_argument(
        "--timeout",
        metavar="<seconds>",
        type=options.positive,
        default=preload.TIMEOUT,
        help="Maximum time for one image in seconds (default: %(default)s)",
    )
    report.add_option(parser)
