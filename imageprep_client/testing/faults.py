"""Faults of a registry in a test, and their times."""

from __future__ import annotations

import dataclasses
import random
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec

_P = ParamSpec("_P")


@dataclasses.dataclass
class Fault:
    """One thing that goes wrong with some requests.

    Which requests:

    :ivar method: of the request; empty for all.
    :ivar path: a regular expression that is searched in path and query.
    :ivar larger_than: only those whose body has more bytes.
    :ivar skip: so many requests that fit are spared first.
    :ivar times: so many after these get it; None for all.
    :ivar chance: the part of those, chosen by the seed of the registry.

    What goes wrong:

    :ivar status: the answer is this status and nothing is done.
    :ivar headers: set in the answer, such as ``Retry-After``; a value of
        None takes the header away.
    :ivar body: the body of an answer with `status`, or in place of the
        right one.
    :ivar reset: the connection is closed in place of an answer.
    :ivar truncate: the connection is closed after so many bytes of the
        body; the headers promise all of them.
    :ivar length_error: is added to Content-Length.
    :ivar corrupt: the byte at this offset of the body is changed.
    :ivar delay: seconds that the answer takes to come.
    :ivar drip: seconds between each thousand bytes of the body.
    :ivar trickle: seconds between each byte of the head.
    """

    method: str = ""
    path: str = ""
    skip: int = 0
    times: int | None = 1
    chance: float = 1.0
    status: int = 0
    headers: Mapping[str, str | None] = dataclasses.field(default_factory=dict)
    body: bytes | None = None
    reset: bool = False
    truncate: int | None = None
    length_error: int = 0
    corrupt: int | None = None
    delay: float = 0.0
    drip: float = 0.0
    trickle: float = 0.0
    larger_than: int = -1

    def fits(self, method: str, path: str, size: int) -> bool:
        """Whether it concerns such requests at all."""
        return (
            self.method in ("", method)
            and size > self.larger_than
            and bool(re.search(self.path, path))
        )


class Faults:
    """The faults of a registry, in the order they are looked through."""

    def __init__(self, faults: Sequence[Fault] = (), seed: int = 0) -> None:
        self._faults = list(faults)
        self._lock = threading.Lock()
        # Repeatable, not secret.
        self._random = random.Random(seed)  # noqa: S311
        self._seen: dict[int, int] = {}

    def add(self, fault: Fault) -> None:
        """From now on, this goes wrong, too."""
        with self._lock:
            self._faults.append(fault)

    def clear(self) -> None:
        """From now on, nothing goes wrong."""
        with self._lock:
            self._faults.clear()
            self._seen.clear()

    def of(self, method: str, path: str, size: int = 0) -> Fault | None:
        """The fault of this request, which is counted; None when it is
        answered rightly.

        :param size: bytes of its body.
        """
        with self._lock:
            for fault in self._faults:
                if not fault.fits(method, path, size):
                    continue
                count = self._seen.get(id(fault), 0)
                self._seen[id(fault)] = count + 1
                if count < fault.skip:
                    continue
                if (
                    fault.times is not None
                    and count >= fault.skip + fault.times
                ):
                    continue
                if self._random.random() < fault.chance:
                    return fault
        return None


def _with_fields_of(
    fault: Callable[_P, Fault],
) -> Callable[Concatenate[Failing, _P], None]:
    def fail(
        server: Failing, /, *values: _P.args, **fields: _P.kwargs
    ) -> None:
        server.faults.add(fault(*values, **fields))

    return fail


class Failing:
    """A server with faults."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults

    #: From now on, a `Fault` with these fields goes wrong, too.
    fail = _with_fields_of(Fault)
