"""One image of an image table, and the interface of a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Protocol


@dataclasses.dataclass(frozen=True, slots=True)
class TableImage:
    """One container image, with its name rendered.

    Two entries may have the same image and differ in the rest.

    :ivar image: the whole name with its tag; not checked, since only the
        entries that a run selects have to be valid references.
    :ivar source: its origin, such as ``tripleo`` or ``ceph``.
    :ivar parameters: the heat parameters that it fills; may be empty.
    :ivar services: the resource types that need it; may be empty.
    :ivar variables: the keys of ``set`` that its name is made of, where the
        table knows them.
    :ivar later: whether it came with a later version of the release, so that
        it is wanted only by deployments that are known to have its services.
    """

    image: str
    source: str
    parameters: tuple[str, ...]
    services: frozenset[str]
    variables: tuple[str, ...] = ()
    later: bool = False


class ImageTable(Protocol):
    """The images of a release, or of a user's own template."""

    def render(self, values: Mapping[str, object]) -> tuple[TableImage, ...]:
        """The entries that exist with these values, in the table's order.

        :param values: complete: what is not in it has no value.
        :raises InputError: when the table cannot be rendered.
        """
        ...

    def knows(self, variable: str) -> bool:
        """Whether the variable may make a difference to what is rendered."""
        ...
