"""Locations of images: registries, directories of layouts, trees, archives.

One spelling for sources and destinations::

    [docker://]HOST[:PORT][/PATH[:TAG|@DIGEST]]
    oci:DIRECTORY[//PATH[:TAG|@DIGEST]]
    image-serve:DIRECTORY[//PATH[:TAG|@DIGEST]]
    oci-archive:FILE[//PATH[:TAG|@DIGEST]]
"""

from __future__ import annotations

import dataclasses
from typing import Self

from imageprep_client import errors
from imageprep_client.oci import reference as references
from imageprep_client.oci.reference import Reference


@dataclasses.dataclass(frozen=True, slots=True)
class Location:
    """A registry or a directory, and perhaps a path in it.

    :ivar registry: ``host[:port]``, or such as ``oci:/var/images``.
    :ivar path: of a repository, or what the paths of repositories begin
        with; empty for the whole place.
    """

    registry: str
    path: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place that a user names; a slash at its end is ignored.

        ``docker://`` is left out, since it would break the parameters by
        which nodes pull.

        :raises InvalidReference: when it is no place for images.
        """
        if text.startswith(("/", "./", "../")):
            raise errors.InvalidReference(
                f"{text[:300]!r}: a path, and no registry",
                hint="name a tree as image-serve:DIRECTORY, layouts as"
                " oci:DIRECTORY, an archive as oci-archive:FILE",
            )
        references.check_complete(text, image=False)
        text = text.removeprefix("docker://").rstrip("/")
        registry, path = references.split(text)
        if not references.is_transport(registry):
            registry = references.check_registry(registry)
        if path:
            references.check_repository(path)
        return cls(registry, path)

    @classmethod
    def of_host(cls, address: str, port: int) -> Self:
        """The registry at this address or name.

        :raises InvalidReference: when it is no host, or one with a port.
        """
        if references.is_ipv6(address):
            address = f"[{address}]"
        if references.check_registry(address).rpartition("]")[2].count(":"):
            raise errors.InvalidReference(
                f"{address!r}: expected a host without a port",
                hint=f"leave the port out, which is {port}",
            )
        return cls.parse(f"{address}:{port}")

    @property
    def is_registry(self) -> bool:
        """Whether it is reached by its host name, as nodes do."""
        return not references.is_transport(self.registry)

    def repository(self, path: str) -> str:
        """The whole path of a repository below this place.

        :raises InvalidReference: when it is none.
        """
        return references.check_repository(
            f"{self.path}/{path}" if self.path else path
        )

    def image(self, name: str) -> Reference:
        """An image below this place.

        :param name: ``repository[:tag][@digest]``.
        :raises InvalidReference: when a part breaks the grammar.
        """
        # With a host before it, the name stays as it is written.
        parsed = Reference.parse(f"localhost/{name}")
        return dataclasses.replace(
            parsed,
            registry=self.registry,
            repository=self.repository(parsed.repository),
        )

    def covers(self, repository: str) -> bool:
        """Whether a repository of its registry is at its path or below."""
        return not self.path or f"{repository}/".startswith(f"{self.path}/")

    def check_whole(self) -> None:
        """Check that it is a whole directory, and not a part of one.

        :raises InvalidArgument: when it is not.
        """
        if self.path:
            raise errors.InvalidArgument(
                f"{self}: a part of a tree or directory",
                hint="only registries are taken with a path",
            )

    def __str__(self) -> str:
        return references.join(self.registry, self.path)
