"""The commands of podman that this package uses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from imageprep_client import errors
from imageprep_client.programs.podman.records import (
    ContainerImage,
    InspectedContainer,
    ListedContainer,
)
from imageprep_client.programs.process import Finished, Program

#: Seconds that a command may take beside what it waits for.
_PATIENCE = 120.0
_ABSENT = re.compile(
    r"no such (container|object|image)|image not known|unable to inspect",
    re.IGNORECASE,
)
#: There is no such container, but several IDs begin with its name.
_AMBIGUOUS = "more than one result for container"
_HINTS = (
    ("no space left", "make room on the file system of podman's storage"),
    ("address already in use", "another process listens on that port"),
    (
        "server gave HTTP response to HTTPS client",
        "name the registry with --insecure-registry",
    ),
    (
        "invalid reference format",
        "podman accepts neither an IPv6 address nor an underscore in the"
        " registry part of an image name: use another name of that host",
    ),
    ("dependent containers", "stop and remove those first"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class PodmanInformation:
    """The podman of this host.

    :ivar version: such as ``(4, 3, 1)``.
    :ivar storage: the directory of its images and containers.
    """

    version: tuple[int, ...]
    storage: Path


@dataclasses.dataclass(frozen=True, slots=True)
class PullOptions:
    """How a registry is reached.

    :ivar insecure: without TLS, or without verifying it.
    :ivar authfile: a file of credentials; None: podman's own.
    :ivar cert_dir: a directory of certificates beside the system's.
    """

    insecure: bool = False
    authfile: str | None = None
    cert_dir: str | None = None


class Podman:
    """The program podman; methods raise `LocalStorageError`.

    :param environment: variables to add to those of this process.
    :param known: what `information` gives; podman takes long to tell it.
    """

    def __init__(
        self,
        environment: Mapping[str, str] | None = None,
        known: PodmanInformation | None = None,
    ) -> None:
        self._added = dict(environment or {})
        self._known = known
        self._program = self._with({})

    def _with(self, environment: Mapping[str, str]) -> Program:
        return Program(
            "podman",
            {**self._added, **environment},
            package="podman",
            error=errors.LocalStorageError,
            hints=_HINTS,
        )

    def information(self) -> PodmanInformation:
        """The version of podman, and the place of its storage."""
        if self._known:
            return self._known
        words = (
            "info",
            "--format",
            "{{.Version.Version}} {{.Store.GraphRoot}}",
        )
        told = self._program.run(*words, timeout=_PATIENCE)
        version, _, storage = told.strip().partition(" ")
        numbers = tuple(map(int, re.findall(r"\d+", version)[:3]))
        if not numbers or not storage.startswith("/"):
            raise self._program.failure(words, f"prints {told[:60]!r}")
        return PodmanInformation(numbers, Path(storage))

    def pull(self, reference: str, options: PullOptions) -> None:
        """Pull an image; its digest is verified where `reference` has one.

        :raises LocalStorageError: also when the registry does not answer.
        """
        words = ["pull", "--quiet"]
        if options.insecure:
            words.append("--tls-verify=false")
        if options.authfile:
            words.append(f"--authfile={options.authfile}")
        if options.cert_dir:
            words.append(f"--cert-dir={options.cert_dir}")
        self._program.run(*words, "--", reference)

    def image(self, name: str) -> ContainerImage | None:
        """A local image by name, digest or ID; None when it is absent."""
        images = self._inspect("image", [name])
        return ContainerImage.of(images[0]) if images else None

    def images(self, ids: Collection[str]) -> dict[str, ContainerImage]:
        """The local images among these, by their ID."""
        local = map(ContainerImage.of, self._inspect("image", ids))
        return {image.id: image for image in local}

    def containers(self) -> list[ListedContainer]:
        """All containers, and storage that killed commands left."""
        told = self._program.json(
            "ps", "--all", "--external", "--format=json", timeout=_PATIENCE
        )
        return [ListedContainer.of(one) for one in told or ()]

    def container(self, name: str) -> InspectedContainer | None:
        """A container by name or ID; None when it is absent."""
        return self.inspected([name]).get(name)

    def inspected(
        self, names: Collection[str]
    ) -> dict[str, InspectedContainer]:
        """The containers among these names or IDs, by what they are in it.

        podman takes the beginning of an ID for a container, too: a service
        may be called ``db``. Only whole names and IDs count here.
        """
        containers = {}
        for data in self._inspect("container", names):
            container = InspectedContainer(data)
            containers[container.name] = containers[container.id] = container
        return {name: containers[name] for name in names if name in containers}

    def shared_names(self, container: InspectedContainer) -> dict[str, str]:
        """The names of containers whose namespaces one shares, by ID."""
        shared = self.inspected(container.dependencies).values()
        return {one.id: one.name for one in shared}

    def create(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> str:
        """Create a container; its ID.

        :param words: options, the image and its command.
        :param environment: values for options such as ``--env=KEY``.
        """
        program = self._with(environment)
        # Images are pulled before anything is stopped.
        told = program.run("create", "--pull=never", *words, timeout=_PATIENCE)
        return told.strip().rpartition("\n")[2]

    def start(self, name: str) -> None:
        self._program.run("start", "--", name, timeout=_PATIENCE)

    def stop(self, name: str, seconds: int) -> None:
        """Stop a container.

        :param seconds: between the stop signal and SIGKILL.
        """
        words = ("stop", f"--time={seconds}", "--", name)
        self._program.run(*words, timeout=seconds + _PATIENCE)

    def remove(self, *names: str, seconds: int) -> None:
        """Stop and remove containers; their anonymous volumes stay.

        :param seconds: between the stop signal and SIGKILL.
        """
        words = ("rm", "--force", f"--time={seconds}", "--", *names)
        self._program.run(*words, timeout=seconds + _PATIENCE)

    def discard(self, *names: str) -> None:
        """Remove containers that never ran, with their anonymous volumes."""
        words = ("rm", "--force", "--volumes", "--time=0", "--", *names)
        self._program.run(*words, timeout=_PATIENCE)

    def exec(
        self, name: str, words: Sequence[str], timeout: float
    ) -> Finished:
        """Run a command in a container."""
        return self._program.attempt("exec", name, *words, timeout=timeout)

    def check_health(self, name: str, timeout: float) -> Finished:
        """Run the health check that a container was created with."""
        return self._program.attempt(
            "healthcheck", "run", name, timeout=timeout
        )

    def run_once(
        self, image: str, words: Sequence[str], timeout: float
    ) -> Finished:
        """Run a program of an image in a container without a network."""
        program, *arguments = words
        return self._program.attempt(
            "run",
            "--rm",
            "--pull=never",
            "--network=none",
            f"--entrypoint={program}",
            image,
            *arguments,
            timeout=timeout,
        )

    def _inspect(
        self, kind: str, names: Collection[str]
    ) -> list[Mapping[str, object]]:
        if not names:
            return []
        words = (kind, "inspect", "--", *names)
        finished = self._program.attempt(*words, timeout=_PATIENCE)
        lines = finished.stderr.strip().splitlines() or ["failed"]
        if finished.status and _AMBIGUOUS in lines[-1]:
            # podman stops at this name without telling which one it is.
            alone = [[name] for name in names if len(names) > 1]
            return [one for name in alone for one in self._inspect(kind, name)]
        complaints = [one for one in lines if one[:5].lower() == "error"]
        if finished.status and not (
            complaints and all(map(_ABSENT.search, complaints))
        ):
            raise self._program.failure(words, lines[-1])
        # podman prints the objects that exist even if others are absent.
        objects: list[Mapping[str, object]] = self._program.parsed(
            words, finished.stdout or "[]"
        )
        return objects
