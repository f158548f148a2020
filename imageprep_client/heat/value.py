"""A value of a document, and the place where it is written."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import Any

from imageprep_client import errors

_WHOLE = re.compile(r"\s*[-+]?[0-9]{1,18}\s*")
#: Characters of a name that a key path shows.
_MAX_NAME = 150
_NAMES = {
    type(None): "nothing",
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "a string",
    bytes: "binary data",
    list: "a list",
    dict: "a mapping",
}


def describe(data: object) -> str:
    """Name the type of a value; the value itself is not shown."""
    return _NAMES.get(type(data), f"a {type(data).__name__}")


@dataclasses.dataclass(frozen=True, slots=True)
class Value:
    """One value, with a method for each type that it can have.

    Errors name the place and the kind of value, never the value: any value
    of an environment may be a secret.

    :ivar path: the file, as the user named it.
    :ivar key: where in the file.
    """

    data: Any = dataclasses.field(repr=False)
    path: str
    key: str = ""

    def error(
        self, problem: str, hint: str | None = None
    ) -> errors.InvalidFile:
        """The error to raise for this value."""
        return errors.InvalidFile(self.path, problem, key=self.key, hint=hint)

    def unknown(
        self, name: str, known: Iterable[str], otherwise: str | None = None
    ) -> errors.InvalidFile:
        """The error to raise for the value of a key that is not known.

        :param otherwise: the hint when no known key is like it.
        """
        hint = errors.did_you_mean(name, known) or otherwise
        return self.error("unknown key", hint)

    def expected(
        self, wanted: str, hint: str | None = None
    ) -> errors.InvalidFile:
        """The error to raise when it is of another type than `wanted`."""
        return self.error(
            f"expected {wanted}, found {describe(self.data)}", hint
        )

    def child(self, name: str, data: object) -> Value:
        """The value of a name in this mapping."""
        name = errors.printable(name[:_MAX_NAME])
        key = f"{self.key}.{name}" if self.key else name
        return Value(data, self.path, key)

    def items(self) -> Iterator[tuple[str, Value]]:
        """Names and values of a mapping, whose names must be strings."""
        if not isinstance(self.data, dict):
            raise self.expected("a mapping")
        for number, (name, data) in enumerate(self.data.items(), 1):
            if not isinstance(name, str):
                raise self.error(
                    f"name {number} of the mapping is {describe(name)},"
                    " expected a string",
                    "put the name in quotes",
                )
            yield name, self.child(name, data)

    def elements(self) -> Iterator[Value]:
        if not isinstance(self.data, list):
            hint = (
                "write a list, even for one element"
                if isinstance(self.data, str | dict)
                else None
            )
            raise self.expected("a list", hint)
        for index, data in enumerate(self.data):
            yield Value(data, self.path, f"{self.key}[{index}]")

    def text(self) -> str:
        """A string; other scalars are refused."""
        if isinstance(self.data, str):
            return self.data
        scalar = isinstance(self.data, (bool, int, float))
        hint = "put the value in quotes" if scalar else None
        raise self.expected("a string", hint)

    def scalar(self) -> str:
        """A string, or a number as a string."""
        if isinstance(self.data, int | float) and not isinstance(
            self.data, bool
        ):
            return str(self.data)
        return self.text()

    def flag(self) -> bool:
        """A boolean; a string such as "true" is refused."""
        if isinstance(self.data, bool):
            return self.data
        hint = "write true or false, without quotes"
        raise self.expected("a boolean", hint)

    def whole(self) -> int:
        """A whole number, which may be written as a string."""
        if isinstance(self.data, str) and _WHOLE.fullmatch(self.data):
            return int(self.data)
        if isinstance(self.data, int) and not isinstance(self.data, bool):
            return self.data
        raise self.expected("a whole number")

    def texts(self) -> tuple[str, ...]:
        return tuple(element.text() for element in self.elements())

    def delimited(self) -> tuple[str, ...]:
        """The strings of a list, or of heat's ``comma_delimited_list``."""
        if isinstance(self.data, str):
            parts = (part.strip() for part in self.data.split(","))
            return tuple(part for part in parts if part)
        if isinstance(self.data, list):
            return self.texts()
        raise self.expected("a list or a comma-separated string")
