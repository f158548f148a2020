"""An observer that records what it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from imageprep_client.observer import Observer


class Recorder(Observer):
    """Records every call.

    :ivar calls: name and arguments of each call, in order.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    def told(self, name: str) -> list[tuple[Any, ...]]:
        """The arguments of the calls of one method, such as ``retrying``."""
        return [
            arguments for called, arguments in self.calls if called == name
        ]

    @property
    def warnings(self) -> list[str]:
        return [text for (text,) in self.told("warning")]

    @property
    def notes(self) -> list[str]:
        return [text for (text,) in self.told("note")]

    @property
    def retries(self) -> list[tuple[Any, ...]]:
        return self.told("retrying")

    @property
    def expected(self) -> int:
        """The bytes that were expected."""
        return sum(count for (count,) in self.told("bytes_expected"))

    @property
    def copied(self) -> int:
        """The bytes that were copied."""
        return sum(count for (count,) in self.told("bytes_copied"))


def _record(name: str) -> Callable[..., None]:
    def method(self: Recorder, *arguments: Any, **named: Any) -> None:
        self.calls.append((name, (*arguments, *named.values())))

    return method


for _name in vars(Observer):
    if not _name.startswith("_"):
        setattr(Recorder, _name, _record(_name))
