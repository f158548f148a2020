"""Platforms: the operating system and processor that an image is for."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, Self

from imageprep_client import errors

_PART = re.compile(r"[a-z0-9_.]+")
#: Architectures as images name them, by the names of the kernel.
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True, slots=True)
class Platform:
    """``os/architecture[/variant]``, as in OCI image-index ``platform``."""

    os: str
    architecture: str
    variant: str = ""

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``linux/arm64/v8``; the operating system may not be left out.

        :raises InvalidReference: when the text has another form.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(map(_PART.fullmatch, parts)):
            raise errors.InvalidReference(
                f"invalid platform {text!r}: expected os/architecture or"
                " os/architecture/variant, such as linux/amd64"
            )
        return cls(*parts)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Self:
        """From the ``platform`` object of an index entry."""
        return cls(
            str(document.get("os", "")),
            str(document.get("architecture", "")),
            str(document.get("variant", "")),
        )

    def matches(self, wanted: Platform) -> bool:
        """Whether an image for this platform serves the one wanted.

        A wanted platform without variant takes every variant.
        """
        return (self.os, self.architecture) == (
            wanted.os,
            wanted.architecture,
        ) and wanted.variant in ("", self.variant)

    def __str__(self) -> str:
        parts = (self.os, self.architecture, self.variant)
        return "/".join(part for part in parts if part)


def architecture(machine: str) -> str:
    """The name that images have for an architecture.

    :param machine: the name of the kernel, such as ``aarch64``; the name that
        images have is returned as it is.
    """
    return _ARCHITECTURES.get(machine, machine)
