"""Destinations of images, as ``push_destination`` names them."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Self

from imageprep_client import errors
from imageprep_client.oci import reference as references

# The transport of a destination that is no registry; what looks like
# host:port is a registry, whatever the host is called.
_TRANSPORT = re.compile(
    r"(image-serve|oci|memory):(?![0-9]{1,5}(/|$)).", re.DOTALL
)


@dataclasses.dataclass(frozen=True, slots=True)
class Destination:
    """A registry and a path below it, or a transport and its place.

    :ivar registry: ``host[:port]``, or such as ``oci:/var/images``.
    :ivar prefix: the path that all repositories there begin with, or empty.
    """

    registry: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From a value of ``push_destination``.

        ``docker://`` and a slash at the end are removed: both would break
        the parameters that nodes pull by.

        :raises InvalidReference: when it is no destination.
        """
        text = text.removeprefix("docker://").rstrip("/")
        if _TRANSPORT.match(text):
            return cls(text)
        # A password may contain a slash: text with an @ is refused whole.
        registry, _, prefix = (
            (text, "", "") if "@" in text else text.partition("/")
        )
        references.check_registry(registry)
        if prefix:
            references.check_repository(prefix)
        return cls(registry, prefix)

    @classmethod
    def at(cls, address: str, port: int) -> Self:
        """The registry at an address or a host name.

        :raises InvalidReference: when it is no host.
        """
        try:
            if ipaddress.ip_address(address).version == 6:
                address = f"[{address}]"
        except ValueError:
            pass  # a host name
        return cls.parse(f"{address}:{port}")

    @property
    def is_registry(self) -> bool:
        """Whether it is reached by its host name, as nodes do."""
        return not _TRANSPORT.match(self.registry)

    def repository(self, path: str) -> str:
        """The whole path of a repository.

        :raises InvalidReference: when it is none.
        """
        return references.check_repository(
            f"{self.prefix}/{path}" if self.prefix else path
        )

    def check_whole(self) -> None:
        """Check that it is a whole registry or tree.

        :raises InvalidArgument: when it is not.
        """
        if self.prefix or self.registry.startswith(("oci:", "memory:")):
            raise errors.InvalidArgument(
                f"{self}: neither a registry without a path nor a tree",
                hint="give host:port, or a directory with --image-serve",
            )

    def __str__(self) -> str:
        if self.prefix:
            return f"{self.registry}/{self.prefix}"
        return self.registry
