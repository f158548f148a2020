"""Requests at once, which an interrupt does not have to wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from imageprep_client.transfer.workers import Workers

#: Requests at once.
CONCURRENCY = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def each(
    ask: Callable[[_Item], _Result], items: Iterable[_Item]
) -> list[_Result]:
    """What `ask` gives for each item, in their order.

    When the caller is interrupted, requests that have no answer are
    abandoned a moment later: `ask` may only read.

    :raises ImagePrepError: what `ask` raises; the others are left then.
    """
    wanted = list(items)
    found: dict[int, _Result] = {}

    def one(number: int) -> None:
        found[number] = ask(wanted[number])

    # Not a pool of concurrent.futures: its end, and that of Python, wait for
    # every thread, and a silent object store holds one for minutes.
    with Workers(CONCURRENCY, keep_going=False) as workers:
        failures = dict(workers.each(one, range(len(wanted))))
    if failures:
        raise failures[min(failures)]
    return [found[number] for number in range(len(wanted))]
