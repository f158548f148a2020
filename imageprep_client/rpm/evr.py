"""Versions of RPM packages in the order of rpm."""

from __future__ import annotations

import dataclasses
import functools
import re

# The parts of a version; all other characters only separate them.
_PART = re.compile(r"~|\^|[0-9]+|[A-Za-z]+")

_Part = tuple[int, int, str]
# The order of the next parts of two versions that are equal so far:
# a tilde, the end, a caret, letters, a number.
_TILDE: _Part = (0, 0, "")
_END: _Part = (1, 0, "")
_CARET: _Part = (2, 0, "")


def _part(text: str) -> _Part:
    if text == "~":
        return _TILDE
    if text == "^":
        return _CARET
    if text[0].isdigit():
        # Compare the length first, because a number may have any length.
        digits = text.lstrip("0")
        return (4, len(digits), digits)
    return (3, 0, text)


def key(version: str) -> tuple[_Part, ...]:
    """A sort key for a version or a release that orders like ``rpmvercmp``."""
    return (*map(_part, _PART.findall(version)), _END)


@functools.total_ordering
@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class Evr:
    """Epoch, version and release of a package, in the order of rpm.

    Two are equal if neither is newer, such as ``1.0`` and ``1.00``.

    :ivar epoch: 0 for a package without one, as in rpm.
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
