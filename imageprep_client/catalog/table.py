"""The image table of a release, as the files in ``data/`` have it.

A file has groups of images that share the ``name`` (in which ``*`` stands for
the image's own part and ``{x}`` for a variable), the ``source`` and the
condition under which they exist (``when``). An image is its own part of the
name, its heat parameters and its services; a service that does not start with
``OS::`` has ``OS::TripleO::Services::`` in front. The order of images is the
file's: of two that fill one parameter, the later one wins.

The condition ``later`` is described at `TableImage.later`.

A release that is ``like`` another one has its images, except those with the
condition ``later`` and those whose own part is in ``without``. An image of its
own replaces the one with the same name and condition, at its place in the
order. If only the name is the same, the other's images of that name are left
out. All other images of its own come last. Its ``source`` is that of images
for which the other has none.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from imageprep_client.catalog.table_image import TableImage

_SERVICE_PREFIX = "OS::TripleO::Services::"
_VARIABLE = re.compile(r"\{(\w+)\}")

# What each condition of the data files asks of one variable. They are told
# apart because a value that no release lists, or a variable that is absent,
# has to give what the releases' own templates gave.
_CONDITIONS: Mapping[str, Callable[..., bool]] = {
    "equals": lambda values, name, value: values.get(name) == value,
    "differs": lambda values, name, *others: values.get(name) not in others,
    "on": lambda values, name: bool(values.get(name)),
    "off": lambda values, name: not values.get(name),
    "on_by_default": lambda values, name: bool(values.get(name, True)),
    "later": lambda _: True,
}
# Came with a later version of the release.
_LATER = ("later",)


@dataclasses.dataclass(frozen=True, slots=True)
class _Image:
    name: str
    when: tuple[str, ...]
    own: str
    source: str
    parameters: Sequence[str]
    services: Sequence[str]

    def exists(self, values: Mapping[str, object]) -> bool:
        if not self.when:
            return True
        condition, *operands = self.when
        return _CONDITIONS[condition](values, *operands)

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(_VARIABLE.findall(self.name))

    def render(self, values: Mapping[str, object]) -> TableImage:
        head, _, tail = self.name.partition("*")
        head, tail = _substitute(head, values), _substitute(tail, values)
        return TableImage(
            image=f"{head}{self.own}{tail}".removeprefix("docker://"),
            source=self.source,
            parameters=tuple(self.parameters),
            services=frozenset(map(_service, self.services)),
            variables=self.variables,
            later=self.when == _LATER,
        )


@dataclasses.dataclass(frozen=True, slots=True)
class ReleaseTable:
    """The images that a release has."""

    _images: Sequence[_Image]

    @classmethod
    def from_data(cls, data: Mapping[str, Any], like: Self | None) -> Self:
        """From the content of a data file.

        :param like: the table that it is like, if any.
        """
        own = {}
        for group in data.get("groups", ()):
            name, when = group["name"], tuple(group.get("when", ()))
            source = group.get("source", "")
            for part, *serves in group["images"]:
                own[name, part, when] = _Image(
                    name, when, part, source, *serves
                )
        names = {(name, part) for name, part, _ in own}
        without, default = data.get("without", ()), data.get("source", "")
        images = []
        for image in like._images if like else ():
            if image.when == _LATER:
                continue
            key = (image.name, image.own, image.when)
            if key in own:
                images.append(own.pop(key))
            elif key[:2] not in names and image.own not in without:
                images.append(
                    dataclasses.replace(image, source=image.source or default)
                )
        return cls([*images, *own.values()])

    @property
    def variables(self) -> tuple[str, ...]:
        """The variables in the names of images without condition, sorted."""
        unconditional = [image for image in self._images if not image.when]
        return tuple(
            sorted(
                {name for image in unconditional for name in image.variables}
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
            for image in self._images
            for name in (*image.variables, *image.when[1:2])
        )

    def render(self, values: Mapping[str, object]) -> tuple[TableImage, ...]:
        """See `ImageTable.render`; a variable without a value is empty."""
        return tuple(
            image.render(values)
            for image in self._images
            if image.exists(values)
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
        for image in reversed(self._images):
            optional = set(image.when[1:]) & set(image.variables)
            if optional and not image.exists(values):
                continue
            name = image.render(values).image
            own = [
                parameter
                for parameter in image.parameters
                if not any(
                    parameter == taken
                    and name != other
                    and (not image.when or when in ((), image.when))
                    for when, taken, other in later
                )
            ]
            names = parameters.setdefault(name, [])
            names[:0] = [p for p in own if p not in names]
            later += [(image.when, parameter, name) for parameter in own]
        return parameters

    def render_absent(
        self, values: Mapping[str, object]
    ) -> tuple[TableImage, ...]:
        """The entries that do not exist with these values.

        Those whose name needs a variable that is not in `values` are left
        out: nothing can be said about them.
        """
        return tuple(
            image.render(values)
            for image in self._images
            if not image.exists(values)
            and all(name in values for name in image.variables)
        )


def _service(name: str) -> str:
    return name if name.startswith("OS::") else _SERVICE_PREFIX + name


def _substitute(text: str, values: Mapping[str, object]) -> str:
    """`text` with its variables; a value is written as jinja2 writes it."""
    return _VARIABLE.sub(lambda match: str(values.get(match[1], "")), text)
