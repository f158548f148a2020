"""The commands of podman that this package uses."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
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
_HINTS = (
    ("no space left", "make room on the file system of podman's storage"),
    ("address already in use", "another process listens on that port"),
    (
        "server gave HTTP response to HTTPS client",
        "name the registry with --insecure-registry",
    ),
    ("dependent containers", "stop and remove those first"),
)


@dataclasses.dataclass(frozen=True, slots=True)
class PullOptions:
    """How a registry is reached.

    :ivar insecure: without TLS, or without verifying it.
    :ivar authfile: a file of credentials, or empty for podman's own.
    :ivar cert_dir: a directory of certificates, or empty.
    """

    insecure: bool = False
    authfile: str = ""
    cert_dir: str = ""


class Podman:
    """The program podman; methods raise `LocalStorageError`.

    :param environment: variables to add to those of this process.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._added = dict(environment or {})
        self._program = self._with({})

    def _with(self, environment: Mapping[str, str]) -> Program:
        return Program(
            "podman",
            {**self._added, **environment},
            package="podman",
            error=errors.LocalStorageError,
            hints=_HINTS,
        )

    def version(self) -> tuple[int, ...]:
        """The version of podman, such as ``(4, 3, 1)``."""
        told = self._program.run("--version", timeout=_PATIENCE)
        return tuple(map(int, re.findall(r"\d+", told)[:3]))

    def storage(self) -> Path:
        """The directory of its images and containers."""
        told = self._program.run(
            "info", "--format", "{{.Store.GraphRoot}}", timeout=_PATIENCE
        )
        return Path(told.strip())

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
        words = ("image", "inspect", "--", name)
        finished = self._program.attempt(*words, timeout=_PATIENCE)
        if finished.status:
            self._check_absent(words, finished)
            return None
        return ContainerImage.of(_only(finished.stdout, self._program, words))

    def containers(self) -> list[ListedContainer]:
        """All containers, and storage that killed commands left."""
        told = self._program.json(
            "ps", "--all", "--external", "--format=json", timeout=_PATIENCE
        )
        return [ListedContainer.of(one) for one in told or ()]

    def container(self, name: str) -> InspectedContainer | None:
        """A container by name or ID; None when it is absent."""
        words = ("container", "inspect", "--", name)
        finished = self._program.attempt(*words, timeout=_PATIENCE)
        if finished.status:
            self._check_absent(words, finished)
            return None
        return InspectedContainer(_only(finished.stdout, self._program, words))

    def create(
        self, words: Sequence[str], environment: Mapping[str, str]
    ) -> str:
        """Create a container; its ID.

        :param words: options, the image and its command.
        :param environment: values for options such as ``--env=KEY``.
        """
        program = self._with(environment)
        # Pulling has its time before anything stops.
        told = program.run("create", "--pull=never", *words, timeout=_PATIENCE)
        return told.strip().rpartition("\n")[2]

    def start(self, name: str) -> None:
        """Start a container."""
        self._program.run("start", "--", name, timeout=_PATIENCE)

    def stop(self, name: str, seconds: int | None = None) -> None:
        """Stop a container.

        :param seconds: before SIGKILL; None for the container's own.
        """
        words = ["stop"]
        if seconds is not None:
            words.append(f"--time={seconds}")
        self._program.run(*words, "--", name)

    def remove(self, name: str, *, seconds: int | None = None) -> None:
        """Remove a container, its anonymous volumes stay.

        :param seconds: stop it first, with this time before SIGKILL.
        """
        words = ["rm"]
        if seconds is not None:
            words += ["--force", f"--time={seconds}"]
        self._program.run(*words, "--", name)

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

    def _check_absent(self, words: Sequence[str], finished: Finished) -> None:
        """Raise what a command failed for, unless the object is absent."""
        if not _ABSENT.search(finished.stderr):
            tail = finished.stderr.strip().rpartition("\n")[2]
            raise self._program.failure(words, tail or "failed")


def _only(
    told: str, program: Program, words: Sequence[str]
) -> Mapping[str, object]:
    """The one element of the JSON list that a command printed."""
    data: Mapping[str, object] = program.parsed(words, told)[0]
    return data
