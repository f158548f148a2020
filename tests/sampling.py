"""Cases that are too many to try all of them each time."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TypeVar

_T = TypeVar("_T")
#: ``tools/check torture`` sets it, and tries all.
ALL = "IMAGEPREP_KILLS" in os.environ


def some(cases: Iterable[_T], step: int) -> list[_T]:
    """Every so many of the cases; in ``tools/check torture`` all of them."""
    return list(cases)[:: 1 if ALL else step]
