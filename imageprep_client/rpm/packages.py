"""Installed packages, as rpm lists them, of an image and of a host."""

from __future__ import annotations

import re

from imageprep_client import errors
from imageprep_client.rpm.evr import Evr

# rpm keeps epochs in 32 bits.
_EPOCH = re.compile(r"[0-9]{1,10}")


def older(image: str, host: str) -> list[str]:
    """The names of the packages of an image that a host has newer, sorted.

    Of several versions of one package, as of kernels, the newest counts.

    :param image, host: lines with name, epoch, version and release between
        tabs; an epoch of 0 is written.
    :raises InvalidArgument: when a line is something else.
    """
    installed, known = _newest(image), _newest(host)
    return sorted(
        name
        for name, evr in installed.items()
        if name in known and evr < known[name]
    )


def _newest(listing: str) -> dict[str, Evr]:
    found: dict[str, Evr] = {}
    for line in listing.splitlines():
        match line.split("\t"):
            case [name, epoch, version, release] if _EPOCH.fullmatch(epoch):
                evr = Evr(int(epoch), version, release)
            case _:
                raise errors.InvalidArgument(
                    f"rpm --query --all: not a package: {line[:200]!r}"
                )
        # Keys are listed as packages, and are none.
        if name != "gpg-pubkey":
            found[name] = max(evr, found.get(name, evr))
    return found
