"""Where images are copied to, as ``push_destination`` says it."""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from typing import Self

from imageprep_client import errors
from imageprep_client.host import undercloud
from imageprep_client.oci import reference as references

# A name in front of a place that is no registry; what looks like host:port
# is one, whatever the host is called.
_TRANSPORT = re.compile(
    r"(image-serve|oci|memory):(?![0-9]{1,5}(/|$)).", re.DOTALL
)


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """A registry and a path below it, or a transport and its place.

    :ivar registry: ``host[:port]``, or such as ``oci:/var/images``.
    :ivar prefix: the path that all repositories there begin with, or empty.
    """

    registry: str
    prefix: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From what the user wrote, or found for ``push_destination: true``.

        ``docker://`` is what a registry is without it, too, and would break
        the parameters that nodes pull by. So would a slash at the end.

        :raises InvalidReference: when it is no place for images.
        """
        text = text.removeprefix("docker://").rstrip("/")
        if _TRANSPORT.match(text):
            return cls(text)
        # A password may have a slash in it: what has one is refused whole.
        registry, _, prefix = (
            (text, "", "") if "@" in text else text.partition("/")
        )
        references.check_registry(registry)
        if prefix:
            references.check_repository(prefix)
        return cls(registry, prefix)

    @classmethod
    def undercloud(cls, address: str) -> Self:
        """The undercloud's registry at this address.

        :raises InvalidReference: when it is no host.
        """
        try:
            if ipaddress.ip_address(address).version == 6:
                address = f"[{address}]"
        except ValueError:
            pass  # a host name
        return cls.parse(f"{address}:{undercloud.PORT}")

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
        """See that it is a registry or a tree, and not a part of one.

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
