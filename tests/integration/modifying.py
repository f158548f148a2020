"""Registries, storage and the program for tests of modified images."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from imageprep_client.programs.buildah import Buildah
from tests import programs
from tests.functional.base import OpenStack
from tests.local_storage import LocalStorage
from tests.rpm_images import RpmImages
from tests.rpm_packages import OLD
from tests.servers import DockerRegistry

KEYSTONE = "openstack-keystone"
NOVA = "openstack-nova-api"
PROGRAM = Path(sys.executable).with_name("openstack")
_RUN = (
    *("image-prepare", "run", "-e", "env.yaml", "--release", "zed"),
    *("-f", "json", "--output-env-file", "out.yaml"),
    *("--report", "report.json"),
)
#: The key of the parameter of each image.
PARAMETERS = {
    KEYSTONE: "ContainerKeystoneImage",
    NOVA: "ContainerNovaApiImage",
}


@dataclasses.dataclass
class Result:
    """The outcome of a run."""

    status: int
    stderr: str
    rows: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, Any] | None

    def row(self, name: str) -> Mapping[str, Any]:
        """The one image with this in its name."""
        (found,) = (row for image, row in self.rows.items() if name in image)
        return found


class Site:
    """Two registries, local storage, and a directory to run from.

    :ivar source: has the images of `publish`.
    :ivar destination: empty at first.
    """

    def __init__(
        self,
        home: Path,
        source: DockerRegistry,
        destination: DockerRegistry,
        storage: LocalStorage,
        rpm_images: RpmImages,
    ) -> None:
        self.rpm_images = rpm_images
        self.home = home
        self.source = source
        self.destination = destination
        self.storage = storage
        self.openstack = OpenStack(home)
        self.environment = self.openstack.environment
        self.environment.update(storage.environment)

    def publish(self, image: str, *names: str, docker: bool = False) -> None:
        """Put a local image into the source, and take its local name away."""
        publish(self.storage, self.source, image, *names, docker=docker)

    def configure(self, *entries: Mapping[str, Any]) -> None:
        """Write env.yaml with these entries."""
        text = yaml.safe_dump(
            {"parameter_defaults": {"ContainerImagePrepare": list(entries)}}
        )
        (self.home / "env.yaml").write_text(text)

    def entry(self, *names: str, **keys: Any) -> dict[str, Any]:
        """An entry for some images of the namespace ns."""
        return {
            "push_destination": self.destination.host,
            "includes": [f"/{name}:" for name in names],
            "set": {"namespace": f"{self.source.host}/ns", "tag": "1.0"},
            **keys,
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a run over env.yaml, as a process."""
        return self.openstack.start(*_RUN, *words)

    def run(self, *words: str, status: int = 0) -> Result:
        """Run to the end."""
        for name in ("out.yaml", "report.json"):
            (self.home / name).unlink(missing_ok=True)
        stderr = self.openstack(
            *_RUN, *words, status=status, stderr="(?s).*"
        ).stderr
        return Result(
            status,
            stderr,
            {row["image"]: row for row in self._read("report.json", "images")},
            self._read("out.yaml", "parameter_defaults") or None,
        )

    def _read(self, name: str, key: str) -> Any:
        path = self.home / name
        return yaml.safe_load(path.read_text())[key] if path.exists() else []

    def fail(self, *words: str, status: int = 1) -> Result:
        """A run that stores nothing, and leaves nothing."""
        before = self.pushed()
        result = self.run(*words, status=status)
        assert result.parameters is None
        assert self.pushed() == before
        assert self.leftovers() == []
        return result

    def pushed(self) -> dict[str, list[str]]:
        """The tags of the destination's repositories."""
        home = self.destination.directory / "data/docker/registry/v2"
        found: dict[str, list[str]] = {}
        for tags in sorted(home.glob("repositories/**/_manifests/tags")):
            name = str(tags.parents[1].relative_to(home / "repositories"))
            found[name] = sorted(path.name for path in tags.iterdir())
        return found

    def processes(self) -> list[str]:
        """The command lines of what has the test's storage in them."""
        mark = str(self.storage.directory).encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                environment = (path / "environ").read_bytes()
                line = (path / "cmdline").read_bytes()
                if path.name != str(os.getpid()) and (
                    mark in line or (line and mark in environment)
                ):
                    found.append(line.replace(b"\0", b" ").decode())
        return [line for line in found if "docker-registry" not in line]

    def leftovers(self) -> list[str]:
        """Leftovers of runs: containers, images, mounts, directories."""
        home = self.storage.directory / "images" / "imageprep"
        kept = [str(path) for path in home.glob("*")]
        images = [str(image) for image in self.storage.buildah.images()]
        running = self.processes()
        return [*kept, *images, *running, *self.storage.leftovers()]

    def installed(self, name: str, package: str = OLD.name) -> str:
        """The answer of rpm in an image pulled from the destination."""
        buildah = self.pull(name)
        pulled = "localhost/pulled:1"
        told = self.storage.told(pulled, "rpm", "-q", package, user="root")
        buildah.remove(pulled)
        return told.strip()

    def pull(self, name: str) -> Buildah:
        """Have an image of the destination as localhost/pulled:1."""
        buildah = self.storage.buildah
        identity = buildah.run(
            *("pull", "--quiet", "--tls-verify=false"),
            f"docker://{self.destination.host}/{name}",
        ).split()[-1]
        buildah.tag(identity, "localhost/pulled:1")
        buildah.remove(f"{self.destination.host}/{name}")
        return buildah

    def manifest(self, name: str, *, source: bool = False) -> dict[str, Any]:
        """The manifest of an image in one of the registries."""
        host = (self.source if source else self.destination).host
        told = programs.run(
            *("skopeo", "inspect", "--raw", "--tls-verify=false"),
            f"docker://{host}/{name}",
        )
        found: dict[str, Any] = json.loads(told)
        return found


def publish(
    storage: LocalStorage,
    registry: DockerRegistry,
    image: str,
    *names: str,
    docker: bool = False,
) -> None:
    """Push a local image by these names, and take its own name away."""
    form = "v2s2" if docker else "oci"
    for name in names:
        storage.buildah.run(
            *("push", "--quiet", "--tls-verify=false", f"--format={form}"),
            *(image, f"docker://{registry.host}/{name}"),
        )
    storage.buildah.remove(image)
