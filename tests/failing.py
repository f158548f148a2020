"""Functions in place of those of the system, which fail."""

from __future__ import annotations

import os
from collections.abc import Callable


def fails(number: int) -> Callable[..., int]:
    """A function that raises the OSError of this number, whatever is asked."""

    def failing(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    return failing
