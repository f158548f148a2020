"""Containers and images as podman shows them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: A process in one of these states does nothing any more.
_ENDED = "XZ"
#: podman's words for containers that have a process.
_ALIVE = ("running", "stopping", "paused")


@dataclasses.dataclass(frozen=True, slots=True)
class ListedContainer:
    """A container in the list of all, storage without a container included.

    :ivar state: podman's word, such as ``running``, ``stopping`` or, for
        what a killed ``podman create`` left, ``storage``.
    """

    id: str
    names: tuple[str, ...]
    state: str
    labels: Mapping[str, str]

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ListedContainer:
        """The container in an element of ``podman ps --format json``."""
        return cls(
            data["Id"],
            tuple(data["Names"] or ()),
            data["State"],
            data["Labels"] or {},
        )


@dataclasses.dataclass(frozen=True, slots=True)
class InspectedContainer:
    """A container as ``podman container inspect`` shows it.

    :ivar data: all of it.
    """

    data: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def id(self) -> str:
        return str(self.data["Id"])

    @property
    def name(self) -> str:
        return str(self.data["Name"])

    @property
    def image_id(self) -> str:
        return str(self.data["Image"])

    @property
    def image_name(self) -> str:
        return str(self.data["ImageName"])

    @property
    def digest(self) -> str:
        """The digest in the name of its image, else that of the manifest.

        A registry may have an image under another digest than this host, as
        it may have packed its layers in another way.
        """
        named = self.image_name.rpartition("@")[2]
        if named.startswith("sha256:"):
            return named
        return str(self.data.get("ImageDigest") or "")

    @property
    def digests(self) -> frozenset[str]:
        """All digests that it may be known by."""
        own = str(self.data.get("ImageDigest") or "")
        return frozenset(filter(None, {own, self.digest}))

    @property
    def state(self) -> str:
        """The state as podman reports it; see `is_alive`."""
        return str(self.data["State"]["Status"])

    @property
    def pid(self) -> int:
        return int(self.data["State"]["Pid"])

    @property
    def conmon(self) -> int:
        """The process that watches it, and holds its published ports."""
        return int(self.data["State"].get("ConmonPid") or 0)

    @property
    def dependencies(self) -> frozenset[str]:
        """The IDs of containers whose namespaces it shares."""
        return frozenset(self.data.get("Dependencies") or ())

    @property
    def started(self) -> str:
        return str(self.data["State"]["StartedAt"])

    @property
    def restarts(self) -> int:
        return int(self.data.get("RestartCount") or 0)

    @property
    def cgroup(self) -> str:
        """The control group of its processes; empty when there is none."""
        return str(self.data["State"].get("CgroupPath") or "")

    @property
    def config(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.data["Config"]
        return data

    @property
    def host_config(self) -> Mapping[str, Any]:
        data: Mapping[str, Any] = self.data["HostConfig"]
        return data

    @property
    def labels(self) -> Mapping[str, str]:
        return self.config.get("Labels") or {}

    @property
    def environment(self) -> dict[str, str]:
        return variables(self.config.get("Env"))

    @property
    def create_command(self) -> tuple[str, ...]:
        """The command line that made it; empty when podman's API did."""
        return tuple(self.config.get("CreateCommand") or ())

    @property
    def is_of_pod(self) -> bool:
        """Whether podman made it with its pod, and no command line did.

        So it makes the infra container of each pod, and all containers of
        ``podman kube play``.
        """
        return bool(self.data.get("Pod")) and (
            bool(self.data.get("IsInfra")) or not self.create_command
        )

    @property
    def stop_timeout(self) -> int:
        """Seconds between the stop signal and SIGKILL."""
        return int(self.config.get("StopTimeout") or 0)

    @property
    def restart_policy(self) -> str:
        """The name of the policy, such as ``always``."""
        policy = self.host_config.get("RestartPolicy") or {}
        return str(policy.get("Name") or "")

    @property
    def has_healthcheck(self) -> bool:
        test = (self.config.get("Healthcheck") or {}).get("Test") or ["NONE"]
        return bool(test[0] != "NONE")

    @property
    def is_alive(self) -> bool:
        """Whether its process runs, regardless of the state in podman.

        podman does not notice the end of a process whose conmon was killed,
        and its number may belong to another process by now.
        """
        if self.state not in _ALIVE:
            return False
        process = Path(f"/proc/{self.pid}")
        try:
            state = (process / "stat").read_text().rpartition(")")[2].split()
            groups = (process / "cgroup").read_text().splitlines()
        except OSError:
            return False
        inside = not self.cgroup or any(
            self.id in line or self.cgroup in line for line in groups
        )
        return bool(inside) and state[0] not in _ENDED

    @property
    def is_lost(self) -> bool:
        """Whether podman will always report an ended process as running.

        Its process has ended, and so has conmon, which would have noticed.
        podman can only remove it.
        """
        if self.state not in _ALIVE or self.is_alive:
            return False
        try:
            watching = Path(f"/proc/{self.conmon}/cmdline").read_bytes()
        except OSError:
            return True
        return self.id.encode() not in watching


@dataclasses.dataclass(frozen=True, slots=True)
class ContainerImage:
    """An image as ``podman image inspect`` shows it.

    :ivar digests: of its manifest, and of indexes that name it.
    :ivar names: with tags.
    :ivar config: as the image has it.
    """

    id: str
    digest: str
    digests: frozenset[str]
    names: tuple[str, ...]
    labels: Mapping[str, str]
    config: Mapping[str, Any] = dataclasses.field(repr=False)

    @property
    def environment(self) -> dict[str, str]:
        return variables(self.config.get("Env"))

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> ContainerImage:
        """The image in what ``podman image inspect`` prints."""
        named = {name.rpartition("@")[2] for name in data["RepoDigests"] or ()}
        digest = data.get("Digest") or ""
        return cls(
            data["Id"],
            digest,
            frozenset(filter(None, {digest, *named})),
            tuple(data.get("RepoTags") or ()),
            data.get("Labels") or {},
            data.get("Config") or {},
        )


def variables(words: list[str] | None) -> dict[str, str]:
    """Variables by name, of words such as ``KEY=value``."""
    return {
        name: value
        for name, _, value in (word.partition("=") for word in words or ())
    }
