"""The image table of a release, as the files in ``data/`` have it.

A table is a list of groups, and a group a list of images that share the
``name`` (in which ``*`` stands for the image's own part and ``{x}`` for a
variable), the ``source`` and the condition under which they exist (``when``).
An image is its own part of the name, its heat parameters and its services;
a service that does not start with ``OS::`` has the table's ``service_prefix``
in front. The order of images is the table's: of two that fill one parameter,
the later one wins.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from imageprep_client.catalog.table_image import TableImage

_VARIABLE = re.compile(r"\{(\w+)\}")

# What each condition of the data files asks of one variable. They are told
# apart because a value that no release lists, or a variable that is absent,
# has to give what the releases' own templates gave.
_CONDITIONS: Mapping[str, Callable[..., bool]] = {
    "equals": lambda values, name, value: values.get(name) == value,
    "differs": lambda values, name, value: values.get(name) != value,
    "on": lambda values, name: bool(values.get(name)),
    "off": lambda values, name: not values.get(name),
    "on_by_default": lambda values, name: bool(values.get(name, True)),
}


@dataclasses.dataclass(frozen=True, slots=True)
class _Group:
    name: str
    source: str
    when: Sequence[str]
    images: Sequence[tuple[str, Sequence[str], Sequence[str]]]

    def exists(self, values: Mapping[str, object]) -> bool:
        if not self.when:
            return True
        condition, *operands = self.when
        return _CONDITIONS[condition](values, *operands)


@dataclasses.dataclass(frozen=True, slots=True)
class ReleaseTable:
    """The images that a release has."""

    _groups: Sequence[_Group]
    _service_prefix: str

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """From the content of a data file."""
        groups = [
            _Group(
                name=group["name"],
                source=group["source"],
                when=group.get("when", ()),
                images=group["images"],
            )
            for group in data["groups"]
        ]
        return cls(groups, data["service_prefix"])

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables in the names of images without condition, sorted."""
        return tuple(
            sorted(
                {
                    name
                    for group in self._groups
                    if not group.when
                    for name in _VARIABLE.findall(group.name)
                }
            )
        )

    def knows(self, variable: str) -> bool:
        """See `ImageTable.knows`."""
        return variable in self.all_variables

    @property
    def all_variables(self) -> frozenset[str]:
        """The variables in names and conditions."""
        return frozenset(
            name
            for group in self._groups
            for name in (*_VARIABLE.findall(group.name), *group.when[1:2])
        )

    def render(self, values: Mapping[str, object]) -> tuple[TableImage, ...]:
        """See `ImageTable.render`; a variable without a value is empty."""
        return self._entries(
            values, [group for group in self._groups if group.exists(values)]
        )

    def filled(self, values: Mapping[str, object]) -> dict[str, list[str]]:
        """Every image, and the parameters that end up naming it.

        Under the conditions of the image: a parameter that another image
        fills later is that one's, where both exist. Without the images that
        are there only when a variable of their name has a value, where it
        has none.
        """
        parameters: dict[str, list[str]] = {}
        later: list[tuple[Sequence[str], str, str]] = []
        for group in reversed(self._groups):
            optional = set(group.when[1:]) & set(_VARIABLE.findall(group.name))
            if optional and not group.exists(values):
                continue
            for entry in reversed(self._entries(values, [group])):
                own = [
                    name
                    for name in entry.parameters
                    if not any(
                        name == taken
                        and image != entry.image
                        and (not group.when or when in ([], group.when))
                        for when, taken, image in later
                    )
                ]
                names = parameters.setdefault(entry.image, [])
                names[:0] = [name for name in own if name not in names]
                later += [(group.when, n, entry.image) for n in own]
        return parameters

    def render_absent(
        self, values: Mapping[str, object]
    ) -> tuple[TableImage, ...]:
        """The entries that do not exist with these values.

        Those whose name needs a variable that is not in `values` are left
        out: nothing can be said about them.
        """
        return self._entries(
            values,
            [
                group
                for group in self._groups
                if not group.exists(values)
                and all(x in values for x in _VARIABLE.findall(group.name))
            ],
        )

    def _entries(
        self, values: Mapping[str, object], groups: Sequence[_Group]
    ) -> tuple[TableImage, ...]:
        entries = []
        for group in groups:
            head, _, tail = group.name.partition("*")
            head, tail = _substitute(head, values), _substitute(tail, values)
            variables = tuple(_VARIABLE.findall(group.name))
            for own, parameters, services in group.images:
                entries.append(
                    TableImage(
                        image=f"{head}{own}{tail}".removeprefix("docker://"),
                        source=group.source,
                        parameters=tuple(parameters),
                        services=frozenset(map(self._service, services)),
                        variables=variables,
                    )
                )
        return tuple(entries)

    def _service(self, name: str) -> str:
        return name if name.startswith("OS::") else self._service_prefix + name


def _substitute(text: str, values: Mapping[str, object]) -> str:
    """`text` with its variables; a value is written as jinja2 writes it."""
    return _VARIABLE.sub(lambda match: str(values.get(match[1], "")), text)
