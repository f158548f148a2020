"""A small deployment: a registry with three images, and their environment."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from imageprep_client.oci.platform import Platform
from imageprep_client.stores.imageserve import ImageServeTree
from imageprep_client.testing import images
from imageprep_client.testing.gate import Open
from imageprep_client.testing.registry import RegistryServer
from tests.functional import base

#: Where nodes pull from; nobody connects to it.
UNDERCLOUD = "uc.example.com:8787"
NAMES = ("keystone", "nova-api", "nova-compute")
PARAMETERS = {
    "ContainerKeystoneImage": "keystone",
    "ContainerNovaApiImage": "nova-api",
    "ContainerNovaComputeImage": "nova-compute",
}
SERVICES = {
    "keystone": "OS::TripleO::Services::Keystone",
    "nova-api": "OS::TripleO::Services::NovaApi",
    "nova-compute": "OS::TripleO::Services::NovaCompute",
}
LABELS = {"version": "17.1.3", "release": "9"}
TAGS = ("17.1", "17.1.3", "17.1.3-9", "current-tripleo")
#: What is told of a registry on this host; all else is a surprise.
PLAIN = (
    r"(WARNING: 127[^\n]*: it is spoken to over plain HTTP\s*"
    r"|WARNING: [^\n]*: no node can pull from it, [^\n]*\s*)*"
)
COMMAND = ("image-prepare", "run")
#: An image table with one image.
TABLE = """container_images_template:
- imagename: "{{namespace}}/openstack-keystone:{{tag}}"
  image_source: kolla
  params: [ContainerKeystoneImage]
"""

_TABLE = "container_images_template:\n" + "".join(
    f'- imagename: "{{{{namespace}}}}/{{{{name_prefix}}}}{name}:{{{{tag}}}}"\n'
    "  image_source: kolla\n"
    f"  params: [{parameter}]\n"
    f"  services: [{SERVICES[name]}]\n"
    for parameter, name in PARAMETERS.items()
)


class Deployment:
    """The files of a user, and the commands that run over them.

    :ivar home: the current directory of the commands.
    :ivar registry: where the images come from.
    :ivar images: what is in it.
    """

    def __init__(
        self,
        openstack: base.OpenStack,
        registry: RegistryServer,
        platforms: Sequence[Platform],
    ) -> None:
        self.openstack = openstack
        self.home = openstack.home
        self.registry = registry
        self.images = _images(tuple(platforms))
        images.write(self.images.images, registry.content.store)
        self.write("table.j2", _TABLE)
        self.environment()

    def write(self, name: str, text: str) -> Path:
        """Write a file below the home."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def entry(self, **changes: Any) -> dict[str, Any]:
        """An entry of ContainerImagePrepare; None takes a key away."""
        entry: dict[str, Any] = {
            "push_destination": UNDERCLOUD,
            "set": self.values(tag="17.1"),
            **changes,
        }
        return {key: entry[key] for key in entry if entry[key] is not None}

    def values(self, **changes: str) -> dict[str, str]:
        """The ``set`` of an entry, without a tag."""
        return {
            "namespace": f"{self.registry.host}/ns",
            "name_prefix": "openstack-",
            "name_suffix": "",
            **changes,
        }

    def environment(
        self,
        *entries: dict[str, Any],
        name: str = "env.yaml",
        **parameters: Any,
    ) -> None:
        """Write an environment; by default with the usual entry."""
        defaults = {
            "ContainerImagePrepare": list(entries) or [self.entry()],
            **parameters,
        }
        self.write(name, yaml.safe_dump({"parameter_defaults": defaults}))

    def run(
        self, *words: str, status: int | Collection[int] = 0, stderr: str = ""
    ) -> base.Result:
        """Run the command over the environment.

        :param stderr: a regular expression; beside it there is nothing but
            that a registry of this host speaks plain HTTP.
        """
        return self.openstack(
            *self.words(*words), status=status, stderr=PLAIN + stderr
        )

    @staticmethod
    def words(*words: str) -> tuple[str, ...]:
        """The whole command line."""
        table = ("--template-file", "table.j2")
        return (*COMMAND, "-e", "env.yaml", *table, *words)

    def rows(self, *words: str, **expected: Any) -> list[dict[str, Any]]:
        """The rows of a run."""
        result = self.run("-f", "json", *words, **expected)
        rows: list[dict[str, Any]] = json.loads(result.stdout)
        return rows

    def defaults(self, name: str = "out.yaml") -> dict[str, Any]:
        """The parameters in a file that was written."""
        found: dict[str, Any] = yaml.safe_load((self.home / name).read_text())
        return found["parameter_defaults"]  # type: ignore[no-any-return]

    def digest(self, name: str) -> str:
        """The digest of one of the images."""
        (found,) = (
            image.descriptor.digest
            for image in self.images.images
            if image.repository == f"ns/openstack-{name}"
        )
        return found

    def tree(self, name: str = "tree") -> ImageServeTree:
        """A tree below the home."""
        return ImageServeTree(self.home / name)

    def files(self) -> set[str]:
        """All that is below the home."""
        return {str(p.relative_to(self.home)) for p in self.home.rglob("*")}


@functools.cache
def _images(platforms: Sequence[Platform]) -> images.ImageSet:
    return images.overcloud(
        {f"ns/openstack-{name}": TAGS for name in NAMES},
        unique_bytes=200_000,
        labels=LABELS,
        platforms=platforms,
    )


@contextlib.contextmanager
def deployed(
    openstack: base.OpenStack,
    *,
    gate: Open | None = None,
    platforms: Sequence[Platform] = (images.AMD64,),
) -> Iterator[Deployment]:
    """A deployment whose registry runs."""
    with RegistryServer(gate=gate) as registry:
        yield Deployment(openstack, registry, platforms)


def expected(
    place: str = UNDERCLOUD, *, tag: str = "17.1", path: str = "ns"
) -> dict[str, str]:
    """The parameters of images that are in this place."""
    return {
        parameter: f"{place}/{path}/openstack-{name}:{tag}"
        for parameter, name in PARAMETERS.items()
    }
