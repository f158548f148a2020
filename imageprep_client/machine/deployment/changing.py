"""The use cases: archive a deployment, preload it, and fill its caches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

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
_REPLACED = {"replaced": RowState.REPLACED, "present": RowState.PRESENT}


class DeploymentChange:
    """A change of all containers or hosts of a deployment.

    :param images: the image of each container, or of each host for caches;
        also of those of unusable hosts where it is known.
    :param failures: of hosts that cannot be used.
    """

    def __init__(
        self,
        deployment: Deployment,
        images: Mapping[str, str],
        failures: Mapping[str, JobResult],
        on_row: OnRow,
    ) -> None:
        self._deployment = deployment
        self._images = images
        self._failures = failures
        self._on_row = on_row

    def archive(self) -> list[MachineRow]:
        """Export one running container of each image.

        An image that is there is left alone. When the containers of one host
        cannot be exported, those of the next one are tried.
        """
        rows = self._containers()
        pending: dict[str, list[DeployedContainer]] = {}
        for one in self._usable():
            pending.setdefault(self._images[one.name], []).append(one)
        exported: dict[str, str] = {}

        def note(outcome: CommandOutcome) -> None:
            name = outcome.names[0]
            image, result = self._images[name], outcome.result
            if not isinstance(result, dict) or outcome.failure:
                for name in outcome.names:
                    rows.fail(
                        name,
                        outcome.failure or "it printed no result",
                        is_unreachable=outcome.is_unreachable,
                    )
                return
            del pending[image]
            state = RowState.EXPORTED
            if result.get("state") == "present":
                state = RowState.PRESENT
            rows.set(name, state, digest=str(result.get("digest", "")))
            exported[image] = name

        while pending:
            commands = []
            for image, listed in list(pending.items()):
                host = listed[0].host
                names = tuple(one.name for one in listed if one.host == host)
                pending[image] = [one for one in listed if one.host != host]
                options = ("--to", image, "--skip-present")
                commands.append(
                    HostCommand(host, "export", names, options, runs=True)
                )
            hosts.run(self._deployment, commands, note)
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

    def preload(self) -> list[MachineRow]:
        """Replace the roots of all containers by their images.

        The containers of a host that have one image are replaced by one
        command, which fetches the image once.
        """
        rows = self._containers()
        groups: dict[tuple[str, str], list[str]] = {}
        for one in self._usable():
            key = (one.host, self._images[one.name])
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

        commands = [
            HostCommand(
                host,
                "replace",
                tuple(names),
                ("--from", image, "--skip-present"),
            )
            for (host, image), names in groups.items()
        ]
        hosts.run(self._deployment, commands, note)
        return list(rows.by_key.values())

    def fill_caches(self) -> list[MachineRow]:
        """Fill the caches of all hosts, from which containers are made."""
        rows = self._rows(
            MachineRow(host, self._images.get(host, ""))
            for host in sorted({*self._images, *self._failures})
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

        commands = [
            HostCommand(host, "cache", (), ("--from", image), has_store=False)
            for host, image in self._images.items()
        ]
        hosts.run(self._deployment, commands, note)
        return list(rows.by_key.values())

    def _usable(self) -> list[DeployedContainer]:
        return [
            one
            for one in self._deployment.containers
            if one.host not in self._failures
        ]

    def _containers(self) -> MachineRows:
        """The rows of all containers; those of unusable hosts may have no
        image.
        """
        return self._rows(
            MachineRow(
                one.host, self._images.get(one.name, ""), one.name, one.service
            )
            for one in self._deployment.containers
        )

    def _rows(self, rows: Iterable[MachineRow]) -> MachineRows:
        return MachineRows(rows, self._failures, self._on_row)
