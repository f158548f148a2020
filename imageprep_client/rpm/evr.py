"""Versions of RPM packages, in the order that rpm has for them."""

from __future__ import annotations

import dataclasses
import functools
import re

# What counts in a version; everything else only separates.
_PART = re.compile(r"~|\^|[0-9]+|[A-Za-z]+")

_Part = tuple[int, int, str]
# Of two versions that are equal so far the one with a tilde is older than
# the one that ends, and that is older than one with more; of more, a caret
# is the oldest and a number the newest.
_TILDE: _Part = (0, 0, "")
_END: _Part = (1, 0, "")
_CARET: _Part = (2, 0, "")


def _part(text: str) -> _Part:
    if text == "~":
        return _TILDE
    if text == "^":
        return _CARET
    if text[0].isdigit():
        # By length, then by digits, since a number may be of any length.
        digits = text.lstrip("0")
        return (4, len(digits), digits)
    return (3, 0, text)


def key(version: str) -> tuple[_Part, ...]:
    """What sorts a version, or a release, as rpm's ``rpmvercmp`` does."""
    return (*map(_part, _PART.findall(version)), _END)


@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evr:
    """Epoch, version and release of a package; ordered as rpm orders them.

    Two are equal when neither is newer: ``1.0`` and ``1.00`` are.

    :ivar epoch: 0 for a package without one, as rpm takes it.
    """

    epoch: int
    version: str
    release: str

    @property
    def _key(self) -> tuple[object, ...]:
        return (self.epoch, key(self.version), key(self.release))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evr) and self._key == other._key

    def __lt__(self, other: Evr) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)

    def __str__(self) -> str:
        epoch = f"{self.epoch}:" if self.epoch else ""
        return f"{epoch}{self.version}-{self.release}"
