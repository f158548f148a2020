"""Compare the installed packages of an image and of a host."""

from __future__ import annotations

import re

from imageprep_client import errors
from imageprep_client.rpm.evr import Evr

# rpm keeps epochs in 32 bits.
_EPOCH = re.compile(r"[0-9]{1,10}")


def older(image: str, host: str) -> list[str]:
    """Names of the packages that are newer on a host than in an image, sorted.

    The newest of several versions of a package counts, as for kernels.

    :param image, host: lines with name, epoch, version and release, separated
        by tabs; the epoch is never omitted.
    :raises InvalidArgument: when a line has another form.
    """
    installed, known = _newest(image), _newest(host)
    return sorted(
        name
        for name, evr in installed.items()
        if name in known and evr < known[name]
    )


def _newest(listing: str) -> dict[str, Evr]:
    newest: dict[str, Evr] = {}
    for line in listing.splitlines():
        match line.split("\t"):
            case [name, epoch, version, release] if _EPOCH.fullmatch(epoch):
                evr = Evr(int(epoch), version, release)
            case _:
                raise errors.InvalidArgument(
                    f"rpm --query --all: not a package: {line[:200]!r}"
                )
        # Keys are listed like packages.
        if name != "gpg-pubkey":
            newest[name] = max(evr, newest.get(name, evr))
    return newest
