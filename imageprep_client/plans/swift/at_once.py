"""Concurrent requests that do not delay an interrupt."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from imageprep_client.transfer.workers import Workers

#: Concurrent requests.
CONCURRENCY = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(
    ask: Callable[[_Item], _Result], items: Iterable[_Item]
) -> list[_Result]:
    """Call `ask` for each item; the results in the order of the items.

    When the caller is interrupted, pending requests are abandoned a moment
    later, so `ask` may only read.

    :raises ImagePrepError: the first error of `ask`; the rest is abandoned.
    """
    # Not a pool of concurrent.futures: its end, and that of Python, wait for
    # every thread, and a silent object store holds one for minutes.
    with Workers(CONCURRENCY, keep_going=False) as workers:
        return workers.map(ask, items)
