"""The use cases: archive a deployment, preload it, and fill its caches."""

from __future__ import annotations

from collections.abc import Mapping

from imageprep_client.ansible import JobResult
from imageprep_client.machine.deployment import hosts
from imageprep_client.machine.deployment.containers import (
    DeployedContainer,
    Deployment,
)
from imageprep_client.machine.deployment.hosts import (
    CommandOutcome,
    HostCommand,
)
from imageprep_client.machine.deployment.rows import (
    MachineRow,
    MachineRows,
    OnRow,
    RowState,
)

#: The states that `machine replace` tells.
_REPLACED = {
    "replaced": RowState.REPLACED,
    "present": RowState.PRESENT,
}


def archive(
    deployment: Deployment,
    images: Mapping[str, str],
    failures: Mapping[str, JobResult],
    on_row: OnRow,
) -> list[MachineRow]:
    """Export one running container of each image.

    An image that is there is left alone. When the containers of one host
    cannot be exported, those of the next one are tried.

    :param images: the image of each container, also of those of unusable
        hosts where it is known.
    :param failures: of hosts that cannot be used.
    """
    rows = _containers(deployment, images, failures, on_row)
    pending: dict[str, list[DeployedContainer]] = {}
    for one in deployment.containers:
        if one.host not in failures:
            pending.setdefault(images[one.name], []).append(one)
    exported: dict[str, str] = {}

    def note(outcome: CommandOutcome) -> None:
        image = images[outcome.names[0]]
        result, failure = outcome.result, outcome.failure
        if not isinstance(result, dict) or failure:
            for name in outcome.names:
                rows.fail(
                    name,
                    failure or "it printed no result",
                    is_unreachable=outcome.is_unreachable,
                )
            return
        del pending[image]
        digest = str(result.get("digest", ""))
        state = RowState.EXPORTED
        if result.get("state") == "present":
            state = RowState.PRESENT
        rows.set(outcome.names[0], state, digest=digest)
        exported[image] = outcome.names[0]

    while pending:
        commands = []
        for image, listed in list(pending.items()):
            host = listed[0].host
            names = tuple(one.name for one in listed if one.host == host)
            pending[image] = [one for one in listed if one.host != host]
            commands.append(
                HostCommand(
                    host,
                    "export",
                    names,
                    ("--to", image, "--skip-present"),
                    runs=True,
                )
            )
        hosts.run(deployment, commands, note)
        pending = {image: left for image, left in pending.items() if left}
    for name, row in rows.by_key.items():
        source = exported.get(row.image)
        if source and source != name:
            rows.set(
                name,
                RowState.LEFT,
                digest=rows.by_key[source].digest,
                detail=f"its image is that of {source}",
            )
    return list(rows.by_key.values())


def preload(
    deployment: Deployment,
    images: Mapping[str, str],
    failures: Mapping[str, JobResult],
    on_row: OnRow,
) -> list[MachineRow]:
    """Replace the roots of all containers by their images.

    The containers of a host that have one image are replaced by one command,
    which fetches the image once.

    :param images: the image of each container, also of those of unusable
        hosts where it is known.
    :param failures: of hosts that cannot be used.
    """
    rows = _containers(deployment, images, failures, on_row)
    groups: dict[tuple[str, str], list[str]] = {}
    for one in deployment.containers:
        if one.host not in failures:
            key = (one.host, images[one.name])
            groups.setdefault(key, []).append(one.name)

    def note(outcome: CommandOutcome) -> None:
        listed = outcome.result if isinstance(outcome.result, list) else []
        told = {
            str(row.get("Name")): row
            for row in listed
            if isinstance(row, dict)
        }
        for name in outcome.names:
            row = told.get(name, {})
            state = _REPLACED.get(str(row.get("State")))
            if state is not None:
                rows.set(name, state, digest=str(row.get("Digest") or ""))
                continue
            reason = str(row.get("Detail") or outcome.failure)
            rows.fail(
                name,
                reason or "it is not in the result",
                is_unreachable=outcome.is_unreachable,
            )

    hosts.run(
        deployment,
        [
            HostCommand(
                host,
                "replace",
                tuple(names),
                ("--from", image, "--skip-present"),
            )
            for (host, image), names in groups.items()
        ],
        note,
    )
    return list(rows.by_key.values())


def fill_caches(
    deployment: Deployment,
    images: Mapping[str, str],
    failures: Mapping[str, JobResult],
    on_row: OnRow,
) -> list[MachineRow]:
    """Fill the caches of all hosts, from which containers are made.

    :param images: the image of each host.
    :param failures: of hosts that cannot be used.
    """
    rows = MachineRows(
        (
            MachineRow(host, images.get(host, ""))
            for host in sorted({*images, *failures})
        ),
        failures,
        on_row,
    )

    def note(outcome: CommandOutcome) -> None:
        host = outcome.command.host
        result = outcome.result if isinstance(outcome.result, dict) else {}
        told = str(result.get("state"))
        if told not in (RowState.FILLED, RowState.PRESENT):
            rows.fail(
                host,
                outcome.failure or "it printed no result",
                is_unreachable=outcome.is_unreachable,
            )
            return
        rows.set(
            host,
            RowState(told),
            digest=str(result.get("digest", "")),
            path=str(result.get("path", "")),
        )

    hosts.run(
        deployment,
        [
            HostCommand(host, "cache", (), ("--from", image), has_store=False)
            for host, image in images.items()
        ],
        note,
    )
    return list(rows.by_key.values())


def _containers(
    deployment: Deployment,
    images: Mapping[str, str],
    failures: Mapping[str, JobResult],
    on_row: OnRow,
) -> MachineRows:
    """The rows of all containers; those of `failures` may have no image."""
    return MachineRows(
        (
            MachineRow(
                one.host, images.get(one.name, ""), one.name, one.service
            )
            for one in deployment.containers
        ),
        failures,
        on_row,
    )
