"""The images of an overcloud, and the runs that copy them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from imageprep_client import catalog
from imageprep_client.oci.reference import Reference
from imageprep_client.testing import images
from tests.functional.base import OpenStack
from tests.servers import DockerRegistry

RELEASE = "zed"
TAG = "17.1"
COUNT = 86
UNDERCLOUD = "uc.example.com:8787"
_RUN = (
    *("image-prepare", "run", "-e", "env.yaml"),
    *("--release", RELEASE, "-f", "json"),
)


def names() -> list[str]:
    """The repositories of an overcloud, as the release's table has them."""
    values = {"namespace": "h/ns", "tag": TAG, "neutron_driver": "ovn"}
    rendered = catalog.load(RELEASE).render(values)
    found = {Reference.parse(entry.image).repository for entry in rendered}
    return sorted(name for name in found if "/openstack-" in name)[:COUNT]


def make() -> images.ImageSet:
    """The images: what they share they share as real ones do."""
    return images.overcloud(
        {name.removeprefix("h/"): [TAG] for name in names()},
        unique_bytes=8_000_000,
    )


def fill(
    registry: DockerRegistry, content: Iterable[images.GeneratedImage]
) -> None:
    """Put images where a docker-registry looks for them, on its disk."""
    home = registry.directory / "data/docker/registry/v2"
    for image in content:
        repository = home / "repositories" / image.repository
        for blob in image.blobs:
            digest = blob.descriptor.digest
            data = _data(home, digest)
            if not data.exists():
                with blob.open() as stream:
                    _write(data, stream.read())
            _link(repository / "_layers", digest)
        for manifest in image.manifests:
            digest = manifest.descriptor.digest
            _write(_data(home, digest), manifest.content)
            _link(repository / "_manifests/revisions", digest)
        for tag in image.tags:
            home_of_tag = repository / "_manifests/tags" / tag
            digest = image.descriptor.digest
            _write(home_of_tag / "current/link", digest.encode())
            _link(home_of_tag / "index", digest)


def _data(home: Path, digest: str) -> Path:
    encoded = digest.partition(":")[2]
    return home / "blobs/sha256" / encoded[:2] / encoded / "data"


def _link(directory: Path, digest: str) -> None:
    path = directory / digest.replace(":", "/") / "link"
    _write(path, digest.encode())


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


class Program:
    """Runs over an overcloud, in a directory of their own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self._openstack = OpenStack(home)

    def configure(
        self,
        source: str,
        push_destination: str = UNDERCLOUD,
        parameters: Mapping[str, Any] | None = None,
        **entry: Any,
    ) -> None:
        """Write env.yaml: the overcloud, from one place to another."""
        prepare = {
            "push_destination": push_destination,
            "includes": [f"/{name.partition('/')[2]}:" for name in names()],
            "set": {"namespace": f"{source}/ns", "tag": TAG},
            **entry,
        }
        defaults = {"ContainerImagePrepare": [prepare], **(parameters or {})}
        text = yaml.safe_dump({"parameter_defaults": defaults})
        (self.home / "env.yaml").write_text(text)

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start a run over env.yaml, by the installed program."""
        return self._openstack.start(*_RUN, *words)

    def run(self, *words: str) -> dict[str, Any]:
        """Run to the end in this process; gives the report."""
        words = (*_RUN, "--report", "report.json", *words)
        self._openstack(*words, stderr=".*")
        report: dict[str, Any] = json.loads(
            (self.home / "report.json").read_text()
        )
        return report

    def fail(self, *words: str, status: int | Collection[int] = 2) -> str:
        """Run in this process, with this exit status; gives stderr."""
        words = (*_RUN, *words)
        return self._openstack(*words, status=status, stderr=".*").stderr
