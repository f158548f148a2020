"""The address to listen on, ``host:port``."""

from __future__ import annotations

import dataclasses
import re
from typing import Self

from imageprep_client import errors
from imageprep_client.host import undercloud
from imageprep_client.oci.reference import is_ipv6

DEFAULT_LISTEN = f"127.0.0.1:{undercloud.PORT}"

_ADDRESS = re.compile(r"(?:\[([^\]]+)\]|([^:\[\]]+)):([0-9]{1,5})")
_NAME = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9.-]*[a-zA-Z0-9])?")


@dataclasses.dataclass(frozen=True, slots=True)
class Address:
    """The address that a server listens on.

    :ivar host: a name or an address, without brackets; ``*`` is all.
    :ivar port: 0 lets the system choose.
    """

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``127.0.0.1:8787``, ``[::1]:8787``, ``name:8787``, ``*:8787``.

        :raises InvalidArgument: when the text has another form.
        """
        match = _ADDRESS.fullmatch(text)
        if match and int(match[3]) < 65536:
            host = match[1] or match[2]
            if is_ipv6(match[1]) if match[1] else _is_host(match[2]):
                return cls(host, int(match[3]))
        raise errors.InvalidArgument(
            f"invalid address {text[:300]!r}: expected host:port, such as"
            f" {DEFAULT_LISTEN}, [::1]:8787 or *:8787"
        )

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def _is_host(text: str) -> bool:
    return text == "*" or bool(_NAME.fullmatch(text))
